"""Pairings as tests call them: a group, and rules of which each pairing takes what it knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from training.methods.pairings import PAIRINGS
from training.methods.pairings.base import FilledPairing, Unpaired
from training.methods.pairings.pairs import Sides
from training.methods.records import BranchGroup, Example
from training.methods.values import goal


@dataclass(frozen=True)
class Rules:
    """The options of all pairings together."""

    margin: float = 1.5
    max_segment_turns: int = 3
    contrasts: int = 1
    sides: Sides = "located"
    rejected_segment_turns: int | None = None
    allow_unequal: bool = True
    differing_turn: bool = False
    verified_goal: float = 0.0
    reward_temperature: float = 1.0


def filled(name: str, rules: Rules) -> FilledPairing:
    spec = PAIRINGS[name]
    options: dict[str, Any] = {option: getattr(rules, option) for option in spec.option_names}
    return partial(spec.make, **options)


def by(name: str) -> Callable[[BranchGroup, Rules], Example | Unpaired]:
    """A pairing of branches that are worth their goals."""

    def paired(group: BranchGroup, rules: Rules) -> Example | Unpaired:
        values = [goal(played, group.seat) for played in group.branches]
        return filled(name, rules)(group, values)

    return paired
