"""What every pairing shares: its rule, its refusal, and a branch as the tokens that are trained on.

Tokens are the sampled ones; loss falls on the seat's own tokens inside the segment only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from judges.critics.base import own_turns
from training.methods.values import Value
from training.storage.records import BranchGroup, BranchTokens, Example, PlayedEpisode

Sides = Literal["located", "original", "halves", "extremes"]


@dataclass(frozen=True, slots=True)
class PairingRule:
    """What counts as better, by how much, and how much of a branch is learned from.

    Attributes:
        margin: branches closer than this in value are a tie.
        max_segment_turns: the longest segment, in own turns; where a critic has chosen a shorter
            one, that is taken.
        contrasts: pairs that a group gives at most where no error was located.
        sides: which branches are held against which (see `pairs.sides_of`).
        rejected_segment_turns: own turns of the worse side, in place of as many as of the better.
        verified_goal: the goal that a rectified step must have led to, 0 to 10.
        reward_temperature: of rejection sampling, in points of the value.
    """

    value: Value
    margin: float
    max_segment_turns: int
    contrasts: int = 1
    sides: Sides = "located"
    rejected_segment_turns: int | None = None
    verified_goal: float = 0.0
    reward_temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class Unpaired:
    """Why a group gave no example."""

    reason: str


Pairing = Callable[[BranchGroup, PairingRule], Example | Unpaired]


def values_of(group: BranchGroup, rule: PairingRule) -> list[float]:
    """The value of each branch for the group's seat."""
    return [rule.value(played, group.seat) for played in group.branches]


def trunk_ids(group: BranchGroup) -> tuple[int, ...]:
    """The seat's token stream up to the start of its reply at the branch turn."""
    ids: list[int] = []
    played = group.branches[0]
    for index in own_turns(played.episode, group.seat):
        generation = played.generations[index]
        assert generation is not None  # groups are made at the policy's own turns
        ids += generation.context_ids
        if index >= group.turn:
            break
        ids += generation.token_ids
    return tuple(ids)


def branch_tokens(
    played: PlayedEpisode, group: BranchGroup, turns: int, win_prob: float
) -> BranchTokens:
    """A branch's stream behind the trunk, up to the end of the segment of `turns` own turns."""
    ids: list[int] = []
    mask: list[bool] = []
    indices = own_turns(played.episode, group.seat, since=group.turn)[:turns]
    for index in indices:
        generation = played.generations[index]
        assert generation is not None
        if index != indices[0]:
            ids += generation.context_ids
            mask += [False] * len(generation.context_ids)
        ids += generation.token_ids
        mask += [True] * len(generation.token_ids)
    return BranchTokens(tuple(ids), tuple(mask), win_prob)


def holds_invalid_act(played: PlayedEpisode, group: BranchGroup, turns: int) -> bool:
    """Whether one of the own turns to be learned from was no valid act.

    Luck is no lesson in syntax.
    """
    own = [turn for turn in played.episode.turns[group.turn :] if turn.seat == group.seat]
    return any(turn.action.invalid for turn in own[:turns])


def own_turns_from(played: PlayedEpisode, group: BranchGroup) -> int:
    """How many own turns a branch has from the branch turn on."""
    return len(own_turns(played.episode, group.seat, since=group.turn))
