"""What every pairing shares: its registration, its refusal, and branches as tokens to train on.

Tokens are the sampled ones; loss falls on the seat's own tokens inside the segment only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from envs.registry import Component, Registry, options_of
from judges.critics.base import own_turns
from training.methods.objectives.base import Shape
from training.methods.records import BranchGroup, BranchTokens, Example, PlayedEpisode


@dataclass(frozen=True, slots=True)
class Unpaired:
    """Why a group gave no example."""

    reason: str


FilledPairing = Callable[[BranchGroup, Sequence[float]], Example | Unpaired]
"""A pairing with its options filled in: a group and the value of each branch -> an example, or
why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingSpec(Component):
    """A registered pairing; `make` is the function itself.

    Attributes:
        gives: what its examples hold.
        by_win_rate: whether branches are ranked by win rates, and so may be compared by a judge.
        by_segment: whether a critic that selects segments is asked how long this one should be.
        from_teacher: whether the continuations must be a teacher's (`branch.source`).
    """

    gives: Shape
    by_win_rate: bool = False
    by_segment: bool = False
    from_teacher: bool = False


PAIRINGS: Registry[PairingSpec] = Registry(
    "pairing", group="pairings", modules=["training.methods.pairings"]
)
"""All pairings by name."""

P = TypeVar("P", bound=Callable[..., Example | Unpaired])


def pairing(
    name: str,
    *,
    gives: Shape,
    by_win_rate: bool = False,
    by_segment: bool = False,
    from_teacher: bool = False,
) -> Callable[[P], P]:
    """Register a pairing by its name; see `PairingSpec` for the rest."""

    def register(function: P) -> P:
        PAIRINGS.add(
            PairingSpec(
                name=name,
                make=function,
                options=options_of(function),
                gives=gives,
                by_win_rate=by_win_rate,
                by_segment=by_segment,
                from_teacher=from_teacher,
            )
        )
        return function

    return register


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
