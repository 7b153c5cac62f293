"""Pairings without pairs: branches with their win rates, or good and bad ones by themselves."""

from __future__ import annotations

from collections.abc import Sequence

from envs.options import Count, NonNegative
from training.methods.pairings.base import (
    Unpaired,
    branch_tokens,
    holds_invalid_act,
    pairing,
    trunk_ids,
)
from training.methods.records import BranchGroup, Example

ALL_TIE = Unpaired("all branches tie")
NEITHER = Unpaired("no branch is good or bad by the margin")


@pairing("win_rate", gives="branches", by_win_rate=True)
def win_rate(
    group: BranchGroup, values: Sequence[float], *, max_segment_turns: Count
) -> Example | Unpaired:
    """All branches with their win rates among themselves (SPPO, arXiv 2405.00675).

    Args:
        max_segment_turns: the longest segment that carries loss, in own turns.
    """
    if len(set(group.win_probs)) == 1:
        return ALL_TIE
    return _as_example(group, range(len(group.branches)), max_segment_turns)


@pairing("win_rate_pair", gives="rated_pairs", by_win_rate=True)
def win_rate_pair(
    group: BranchGroup, values: Sequence[float], *, max_segment_turns: Count
) -> Example | Unpaired:
    """The branches that win most and least, with their win rates (SPPO, section 4.2 and eq. 4.8).

    The first of equals.

    Args:
        max_segment_turns: the longest segment that carries loss, in own turns.
    """
    if len(set(group.win_probs)) == 1:
        return ALL_TIE
    order = sorted(range(len(group.branches)), key=lambda k: -group.win_probs[k])
    least = min(order, key=lambda k: group.win_probs[k])
    return _as_example(group, (order[0], least), max_segment_turns)


@pairing("binary", gives="branches")
def binary(
    group: BranchGroup,
    values: Sequence[float],
    *,
    margin: NonNegative,
    max_segment_turns: Count,
) -> Example | Unpaired:
    """Branches that are good or bad by themselves, in no pairs (KTO, arXiv 2402.01306; BCO).

    Good is half a margin above the mean of the group, bad half a margin below it; what lies
    between is a near-tie and left out. Two branches that make a pair are therefore told apart here
    too.

    Args:
        margin: in points of the value; half of it on either side of the mean is a near-tie.
        max_segment_turns: the longest segment that carries loss, in own turns.
    """
    mean = sum(values) / len(values)
    found = []
    for played, value in zip(group.branches, values, strict=True):
        is_good = value > mean
        if abs(value - mean) < margin / 2 or value == mean:
            continue
        if is_good and holds_invalid_act(played, group, max_segment_turns):
            continue
        found.append(branch_tokens(played, group, max_segment_turns, float(is_good)))
    return Example(group.id, trunk_ids(group), tuple(found)) if found else NEITHER


def _as_example(
    group: BranchGroup, places: range | tuple[int, ...], max_segment_turns: int
) -> Example:
    branches = tuple(
        branch_tokens(group.branches[k], group, max_segment_turns, group.win_probs[k])
        for k in places
    )
    return Example(group.id, trunk_ids(group), branches)
