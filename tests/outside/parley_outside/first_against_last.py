"""A pairing of the best branch with the worst, however close they are."""

from __future__ import annotations

from collections.abc import Sequence

from envs.options import Count
from training.methods.pairings.base import Unpaired, pairing
from training.methods.pairings.pairs import equally_long
from training.methods.records import BranchGroup, Example


@pairing("first_against_last", gives="pairs")
def first_against_last(
    group: BranchGroup, values: Sequence[float], *, longest: Count = 2
) -> Example | Unpaired:
    """The best branch against the worst.

    Args:
        longest: own turns of a segment, at most.
    """
    order = sorted(range(len(values)), key=lambda k: -values[k])
    if values[order[0]] == values[order[-1]]:
        return Unpaired("all branches are worth the same")
    return equally_long(group, [(order[0], order[-1])], longest)
