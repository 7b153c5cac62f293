"""Where the dialogues of stage 0 come from: the registry of sources of demonstrations.

To add one, write a function of (options, `Stage0`) that returns `Demonstrations`, and decorate it
with `@source("name")`; training/learning/sources/ has ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from envs.registry import Component, Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec(Component):
    """A registered source of demonstrations.

    Attributes:
        needs_task: whether it knows only scenarios with a task that a program can check.
        plays: whether its model plays cloning.dialogues dialogues, which the judge scores.
        selects: whether it keeps some dialogues and leaves others out, which is counted and told;
            else it has no options, and what it gives follows from those of the run's scenarios.
    """

    needs_task: bool = False
    plays: bool = False
    selects: bool = True


SOURCES: Registry[SourceSpec] = Registry(
    "source of demonstrations", group="sources", modules=["training.learning.sources"]
)
"""All sources of demonstrations by name."""

M = TypeVar("M", bound=Callable[..., object])


def source(
    name: str, *, needs_task: bool = False, plays: bool = False, selects: bool = True
) -> Callable[[M], M]:
    """Register a source of demonstrations by its name; see `SourceSpec` for the rest."""
    return SOURCES.registers(SourceSpec, name, needs_task=needs_task, plays=plays, selects=selects)
