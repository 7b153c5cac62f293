"""What a scenario family is, and all families by name.

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
    """A registered scenario family: a generator of tasks and the words for them.

    Attributes:
        make: draws a task of a difficulty from a seeded generator.
        key: what makes two tasks the same context; contexts are dealt to the splits by it.
        tell: the words around a task.
        words: the words of its briefs, offers and statements that not all families share (see
            `agents.vocabulary`): small models have one token a word.
    """

    make: Callable[[Random, Difficulty], Any]
    key: Callable[[Any], tuple[object, ...]]
    tell: Callable[[Any, Random], Story]
    words: tuple[str, ...] = ()


FAMILIES: Registry[Family] = Registry(
    "family",
    group="families",
    modules=[f"envs.scenarios.{name}" for name in ("camp", "division", "match", "plans", "price")],
)
"""All families whose goals a program checks, by name."""
