"""The registry of scenario families.

To add one, write a module with a `Task` of its own and end it with `FAMILIES.add(Family(...))`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from envs.registry import Component, Registry
from envs.scenarios.difficulty import Difficulty
from envs.scenarios.story import Story


@dataclass(frozen=True, slots=True, kw_only=True)
class Family(Component):
    """A registered scenario family: a generator of tasks, and the texts that tell them.

    Attributes:
        make: draws a task of a difficulty with a seeded random generator.
        key: the identity of a task's context, which decides its split.
        tell: writes the texts of a task.
        words: the words of its briefs, offers and statements that not all families share (see
            `agents.vocabulary`): small models have one token a word.
    """

    make: Callable[[Random, Difficulty], Any]
    key: Callable[[Any], tuple[object, ...]]
    tell: Callable[[Any, Random], Story]
    words: tuple[str, ...] = ()


FAMILIES: Registry[Family] = Registry(
    "family", group="families", modules=["envs.scenarios.families"]
)
"""All families by name; a program checks the goals of their tasks."""
