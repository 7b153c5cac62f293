"""Pairings without pairs: branches with their win rates, or good and bad ones by themselves."""

from __future__ import annotations

from training.methods.pairings.base import (
    PairingRule,
    Unpaired,
    branch_tokens,
    holds_invalid_act,
    trunk_ids,
    values_of,
)
from training.storage.records import BranchGroup, Example

ALL_TIE = Unpaired("all branches tie")
NEITHER = Unpaired("no branch is good or bad by the margin")


def win_rate(group: BranchGroup, rule: PairingRule) -> Example | Unpaired:
    """All branches with their win rates among themselves (SPPO, arXiv 2405.00675)."""
    if len(set(group.win_probs)) == 1:
        return ALL_TIE
    return _as_example(group, rule, range(len(group.branches)))


def win_rate_pair(group: BranchGroup, rule: PairingRule) -> Example | Unpaired:
    """The branches that win most and least, with their win rates (SPPO, section 4.2 and eq. 4.8).

    The first of equals.
    """
    if len(set(group.win_probs)) == 1:
        return ALL_TIE
    order = sorted(range(len(group.branches)), key=lambda k: -group.win_probs[k])
    least = min(order, key=lambda k: group.win_probs[k])
    return _as_example(group, rule, (order[0], least))


def binary(group: BranchGroup, rule: PairingRule) -> Example | Unpaired:
    """Branches that are good or bad by themselves, in no pairs (KTO, arXiv 2402.01306; BCO).

    Good is half a margin above the mean of the group, bad half a margin below it; what lies
    between is a near-tie and left out. Two branches that make a pair are therefore told apart here
    too.
    """
    values = values_of(group, rule)
    mean = sum(values) / len(values)
    found = []
    for played, value in zip(group.branches, values, strict=True):
        is_good = value > mean
        if abs(value - mean) < rule.margin / 2 or value == mean:
            continue
        if is_good and holds_invalid_act(played, group, rule.max_segment_turns):
            continue
        found.append(branch_tokens(played, group, rule.max_segment_turns, float(is_good)))
    return Example(group.id, trunk_ids(group), tuple(found)) if found else NEITHER


def _as_example(group: BranchGroup, rule: PairingRule, places: range | tuple[int, ...]) -> Example:
    branches = tuple(
        branch_tokens(group.branches[k], group, rule.max_segment_turns, group.win_probs[k])
        for k in places
    )
    return Example(group.id, trunk_ids(group), branches)
