"""Pairings: which branches of a group become an example, and which tokens carry loss.

A pairing is a pure function from one group to one example or a reason for dropping it. To add one,
write it in a file of this folder and decorate it with `@pairing("name", gives=...)`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from training.methods.pairings.base import PAIRINGS, FilledPairing, Unpaired
from training.methods.records import BranchGroup, Example
from training.methods.values import Value

__all__ = ["PAIRINGS", "pair_up"]


def pair_up(
    groups: Sequence[BranchGroup],
    pairing: FilledPairing,
    value: Value,
) -> tuple[list[Example], Counter[str]]:
    """The examples of all groups in order, and how many groups were dropped for which reason.

    Args:
        value: what makes a branch better for the group's seat.
    """
    examples: list[Example] = []
    drops: Counter[str] = Counter()
    for group in groups:
        paired = pairing(group, [value(played, group.seat) for played in group.branches])
        if isinstance(paired, Unpaired):
            drops[paired.reason] += 1
        else:
            examples.append(paired)
    return examples, drops
