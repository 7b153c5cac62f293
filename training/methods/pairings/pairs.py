"""Pairings of a better with a worse branch; they differ in how much of either carries loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from judges.critics.base import LOCATING, segment_length
from training.methods.pairings.base import (
    PairingRule,
    Unpaired,
    branch_tokens,
    holds_invalid_act,
    own_turns_from,
    trunk_ids,
    values_of,
)
from training.methods.values import goal
from training.storage.records import BranchGroup, BranchTokens, Example, PlayedEpisode

Contrast = tuple[int, int]
"""The places of a better and a worse branch in their group."""

TIE = Unpaired("no branch is better by the margin")
INVALID = Unpaired("the better branch holds an invalid act")
SAME = Unpaired("both segments are the same words")
UNVERIFIED = Unpaired("no rectified turn was verified")


def segment(group: BranchGroup, rule: PairingRule) -> Example | Unpaired:
    """Better and worse branches, equally long in own turns (SDPO, arXiv 2501.01821).

    With `rejected_segment_turns` they are unequally long, and the partition function no longer
    cancels: for the paper's ablation, in which such pairs can make the policy collapse.
    """
    contrasts = sides_of(group, rule, values_of(group, rule))
    return _pairs(group, contrasts, _lengths(group, rule), _longest(group, rule))


def turn(group: BranchGroup, rule: PairingRule) -> Example | Unpaired:
    """A better and a worse branch, the branch turn alone: DPO on one reply."""
    return segment(group, replace(rule, max_segment_turns=1, rejected_segment_turns=None))


def session(group: BranchGroup, rule: PairingRule) -> Example | Unpaired:
    """A better and a worse branch from the branch turn to their ends, each as long as it is.

    From a seat's first turn on that is a session of ETO (arXiv 2403.02502, eq. 5) and DMPO.
    """
    contrasts = sides_of(group, rule, values_of(group, rule))
    longest = max(own_turns_from(played, group) for played in group.branches)
    return _pairs(group, contrasts, lambda better, worse: (longest, longest), longest)


def step(group: BranchGroup, rule: PairingRule) -> Example | Unpaired:
    """A rectified and verified turn against the original one (Step-DPO, arXiv 2406.18629).

    The turns before it are right and stand in the trunk. A turn counts as verified when the play
    that went on from it came to a goal of `verified_goal` or more.
    """
    values = values_of(group, rule)
    others = range(1, len(group.branches))
    verified = [k for k in others if goal(group.branches[k], group.seat) >= rule.verified_goal]
    if not verified:
        return UNVERIFIED
    best = max(verified, key=values.__getitem__)
    contrasts = _far([(best, 0)], values, rule)
    return _pairs(group, contrasts, lambda better, worse: (1, 1), 1)


def preferred(group: BranchGroup, rule: PairingRule) -> Example | Unpaired:
    """The better sides of `segment` alone (preferred-SFT, arXiv 2501.01821, section 4.2)."""
    paired = segment(group, rule)
    if isinstance(paired, Unpaired):
        return paired
    return replace(paired, branches=tuple(side for side in paired.branches if side.win_prob == 1))


def sides_of(group: BranchGroup, rule: PairingRule, values: Sequence[float]) -> list[Contrast]:
    """Which branches are held against which, near-ties left out.

    "original": the best against the original continuation, as published for SDPO.
    "halves": from the middle of the better half against those of the worse. Best against worst
        would compare luck with bad luck, in which a safe answer, to accept a fair offer say, is
        never seen, and gambling is learned.
    "extremes": the best against the worst, as in iterative DPO.
    "located": "original" where a critic located an error, "halves" elsewhere.
    """
    order = sorted(range(len(values)), key=lambda k: -values[k])
    half = len(order) // 2
    sides = rule.sides
    if sides == "located":
        sides = "original" if group.critic in LOCATING else "halves"
    if sides == "original":
        return _far([(order[0], 0)], values, rule)
    if sides == "extremes":
        outermost = list(zip(order[:half], order[::-1], strict=False))
        return _far(outermost[: rule.contrasts], values, rule)
    halves = list(zip(order[:half], order[len(order) - half :], strict=True))
    first = max(0, (half - rule.contrasts + 1) // 2)
    return _far(halves[first : first + rule.contrasts], values, rule)


def equally_long(
    group: BranchGroup, contrasts: Sequence[Contrast], rule: PairingRule
) -> Example | Unpaired:
    """These contrasts as segment pairs."""
    return _pairs(group, contrasts, _lengths(group, rule), _longest(group, rule))


def _far(contrasts: list[Contrast], values: Sequence[float], rule: PairingRule) -> list[Contrast]:
    return [(a, b) for a, b in contrasts if 0 < values[a] - values[b] >= rule.margin]


def _pairs(
    group: BranchGroup,
    contrasts: Sequence[Contrast],
    lengths: Callable[[PlayedEpisode, PlayedEpisode], tuple[int, int]],
    longest: int,
) -> Example | Unpaired:
    """The contrasts that can be learned from as one example.

    Args:
        lengths: own turns of the better and of the worse branch that carry loss.
        longest: own turns of the better branch that must all be valid acts.
    """
    if not contrasts:
        return TIE
    branches = group.branches
    clean = [(a, b) for a, b in contrasts if not holds_invalid_act(branches[a], group, longest)]
    if not clean:
        return INVALID
    sides: list[BranchTokens] = []
    for a, b in clean:
        better, worse = lengths(branches[a], branches[b])
        chosen = branch_tokens(branches[a], group, better, 1.0)
        rejected = branch_tokens(branches[b], group, worse, 0.0)
        if chosen.token_ids != rejected.token_ids:
            sides += [chosen, rejected]
    if not sides:
        return SAME
    return Example(group.id, trunk_ids(group), tuple(sides))


def _lengths(
    group: BranchGroup, rule: PairingRule
) -> Callable[[PlayedEpisode, PlayedEpisode], tuple[int, int]]:
    rejected = rule.rejected_segment_turns

    def lengths(better: PlayedEpisode, worse: PlayedEpisode) -> tuple[int, int]:
        if rejected is not None and rejected != rule.max_segment_turns:
            return rule.max_segment_turns, rejected
        turns = segment_length(
            own_turns_from(better, group), own_turns_from(worse, group), _longest(group, rule)
        )
        return turns, turns

    return lengths


def _longest(group: BranchGroup, rule: PairingRule) -> int:
    """The longest segment of a pair: the one that the critic chose, unless the rule is shorter."""
    return min(group.segment_turns or rule.max_segment_turns, rule.max_segment_turns)
