"""Pairings of a better with a worse branch; they differ in how much of either carries loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from envs.options import Count, NonNegative, Range
from envs.types import Action
from judges.critics.base import CRITICS, segment_length
from training.methods.pairings.base import (
    Unpaired,
    branch_tokens,
    holds_invalid_act,
    own_turns_from,
    pairing,
    trunk_ids,
)
from training.methods.records import BranchGroup, BranchTokens, Example, PlayedEpisode
from training.methods.values import goal

Contrast = tuple[int, int]
"""The places of a better and a worse branch in their group."""

Sides = Literal["located", "original", "halves", "extremes"]

TIE = Unpaired("no branch is better by the margin")
INVALID = Unpaired("the better branch holds an invalid act")
SAME = Unpaired("both segments are the same words")
SAME_TURN = Unpaired("both sides do the same at the branch turn")
UNVERIFIED = Unpaired("no rectified turn was verified")


@pairing("segment", gives="pairs", by_segment=True)
def segment(
    group: BranchGroup,
    values: Sequence[float],
    *,
    margin: NonNegative,
    max_segment_turns: Count,
    sides: Sides = "located",
    contrasts: Count = 1,
    rejected_segment_turns: Count | None = None,
    allow_unequal: bool = False,
    differing_turn: bool = False,
) -> Example | Unpaired:
    """Better and worse branches, equally long in own turns (SDPO, arXiv 2501.01821).

    Args:
        margin: branches closer than this in value are a tie.
        max_segment_turns: the longest segment that carries loss, in own turns; where a critic has
            chosen a shorter one, that is taken.
        sides: which branches are held against which: the best against the "original", the middles
            of the "halves", the "extremes", or "located": the original where an error was located
            and halves elsewhere.
        contrasts: pairs that a group gives at most where no error was located.
        rejected_segment_turns: how long the worse side's segment is, where it is not to be as long
            as the better one's; needs `allow_unequal`.
        allow_unequal: that segments are unequally long is meant: the partition function then does
            not cancel, and in the paper two of four such choices made the policy collapse
            (arXiv 2501.01821, table 4).
        differing_turn: whether pairs are dropped whose two sides do the same at the branch turn, as
            SDPO's released code refuses them.
    """
    found = sides_of(group, values, sides=sides, margin=margin, contrasts=contrasts)
    if differing_turn and found:
        found = [(a, b) for a, b in found if _first(group, a) != _first(group, b)]
        if not found:
            return SAME_TURN
    longest = _longest(group, max_segment_turns)
    if rejected_segment_turns not in (None, max_segment_turns):
        lengths = (max_segment_turns, rejected_segment_turns or 1)
        return _pairs(group, found, lambda better, worse: lengths, longest)
    return equally_long(group, found, max_segment_turns)


@pairing("turn", gives="pairs")
def turn(
    group: BranchGroup,
    values: Sequence[float],
    *,
    margin: NonNegative,
    sides: Sides = "located",
    contrasts: Count = 1,
) -> Example | Unpaired:
    """A better and a worse branch, the branch turn alone: DPO on one reply.

    Args:
        margin: branches closer than this in value are a tie.
        sides: as in `segment`.
        contrasts: as in `segment`.
    """
    found = sides_of(group, values, sides=sides, margin=margin, contrasts=contrasts)
    return equally_long(group, found, 1)


@pairing("session", gives="pairs")
def session(
    group: BranchGroup,
    values: Sequence[float],
    *,
    margin: NonNegative,
    sides: Sides = "located",
    contrasts: Count = 1,
) -> Example | Unpaired:
    """A better and a worse branch from the branch turn to their ends, each as long as it is.

    From a seat's first turn on that is a session of ETO (arXiv 2403.02502, eq. 5) and DMPO.

    Args:
        margin: branches closer than this in value are a tie.
        sides: as in `segment`.
        contrasts: as in `segment`.
    """
    found = sides_of(group, values, sides=sides, margin=margin, contrasts=contrasts)
    longest = max(own_turns_from(played, group) for played in group.branches)
    return _pairs(group, found, lambda better, worse: (longest, longest), longest)


@pairing("step", gives="pairs")
def step(
    group: BranchGroup,
    values: Sequence[float],
    *,
    margin: NonNegative,
    verified_goal: Annotated[float, Range(at_least=0, at_most=10)],
) -> Example | Unpaired:
    """A rectified and verified turn against the original one (Step-DPO, arXiv 2406.18629).

    The turns before it are right and stand in the trunk. A turn counts as verified when the play
    that went on from it came to a goal of `verified_goal` or more.

    Args:
        margin: branches closer than this in value are a tie.
        verified_goal: the goal that a rectified turn must have led to, 0 to 10.
    """
    others = range(1, len(group.branches))
    verified = [k for k in others if goal(group.branches[k], group.seat) >= verified_goal]
    if not verified:
        return UNVERIFIED
    best = max(verified, key=values.__getitem__)
    contrasts = _far([(best, 0)], values, margin)
    return _pairs(group, contrasts, lambda better, worse: (1, 1), 1)


@pairing("preferred", gives="branches", by_segment=True)
def preferred(
    group: BranchGroup,
    values: Sequence[float],
    *,
    margin: NonNegative,
    max_segment_turns: Count,
    sides: Sides = "located",
    contrasts: Count = 1,
) -> Example | Unpaired:
    """The better sides of `segment` alone (preferred-SFT, arXiv 2501.01821, section 4.2).

    Args:
        margin: branches closer than this in value are a tie.
        max_segment_turns: as in `segment`.
        sides: as in `segment`.
        contrasts: as in `segment`.
    """
    found = sides_of(group, values, sides=sides, margin=margin, contrasts=contrasts)
    paired = equally_long(group, found, max_segment_turns)
    if isinstance(paired, Unpaired):
        return paired
    return replace(paired, branches=tuple(side for side in paired.branches if side.win_prob == 1))


def sides_of(
    group: BranchGroup,
    values: Sequence[float],
    *,
    sides: Sides,
    margin: float,
    contrasts: int,
) -> list[Contrast]:
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
    if sides == "located":
        critic = CRITICS.get(group.critic)
        sides = "original" if critic is not None and critic.locates else "halves"
    if sides == "original":
        return _far([(order[0], 0)], values, margin)
    if sides == "extremes":
        outermost = list(zip(order[:half], order[::-1], strict=False))
        return _far(outermost[:contrasts], values, margin)
    halves = list(zip(order[:half], order[len(order) - half :], strict=True))
    first = max(0, (half - contrasts + 1) // 2)
    return _far(halves[first : first + contrasts], values, margin)


def equally_long(
    group: BranchGroup, contrasts: Sequence[Contrast], max_segment_turns: int
) -> Example | Unpaired:
    """These contrasts as pairs of segments that are equally long in own turns."""
    longest = _longest(group, max_segment_turns)

    def lengths(better: PlayedEpisode, worse: PlayedEpisode) -> tuple[int, int]:
        turns = segment_length(own_turns_from(better, group), own_turns_from(worse, group), longest)
        return turns, turns

    return _pairs(group, contrasts, lengths, longest)


def _first(group: BranchGroup, k: int) -> Action:
    """What a branch does at the branch turn."""
    return group.branches[k].episode.turns[group.turn].action


def _far(contrasts: list[Contrast], values: Sequence[float], margin: float) -> list[Contrast]:
    return [(a, b) for a, b in contrasts if 0 < values[a] - values[b] >= margin]


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


def _longest(group: BranchGroup, max_segment_turns: int) -> int:
    """The longest segment of a pair: the one that the critic chose, unless the limit is shorter."""
    return min(group.segment_turns or max_segment_turns, max_segment_turns)
