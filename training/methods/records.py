"""What the loop hands from step to step: played episodes, branch groups, training examples."""

from __future__ import annotations

from dataclasses import dataclass

from engines.types import Generation
from envs.types import Episode
from judges.base import Judgement
from judges.pairwise import Preferences


@dataclass(frozen=True, slots=True)
class PlayedEpisode:
    """A finished episode with everything that made it.

    Attributes:
        id: stable within a run; the same work gives the same id.
        players: each seat's player id.
        generations: aligned with `episode.turns`; None where no model made the turn.
        parent_id: the trunk's episode when this is a branch.
        branch_turn: the transcript index of the first turn that is not shared with the parent.
    """

    id: str
    episode: Episode
    players: tuple[str, ...]
    generations: tuple[Generation | None, ...]
    seed: int
    judgement: Judgement
    parent_id: str | None = None
    branch_turn: int | None = None


@dataclass(frozen=True, slots=True)
class BranchGroup:
    """One history (the trunk) and its scored continuations; the original one is branches[0].

    Attributes:
        seat: whose turn it is at the branch turn, and whose tokens may carry loss.
        turn: transcript index of the branch turn; all branches share the turns before it.
        critic: which critic chose the place, and `reason` why.
        win_probs: mean probability that a branch beats the others of its group, itself counted
            as 1/2; same length as `branches` (arXiv 2405.00675, section 4.2).
        segment_turns: how many own turns from the branch turn on made the difference between the
            best branch and the original, as the critic says; None where it says nothing.
        preferences: what a pairwise judge said, from which `win_probs` are; None where they are
            from values.
    """

    id: str
    seat: int
    turn: int
    critic: str
    reason: str
    branches: tuple[PlayedEpisode, ...]
    win_probs: tuple[float, ...]
    segment_turns: int | None = None
    preferences: Preferences | None = None


@dataclass(frozen=True, slots=True)
class BranchTokens:
    """One branch as it is trained on: the tokens after the trunk, as sampled.

    Attributes:
        token_ids: from the branch turn's completion to the end of the segment.
        loss_mask: same length; True on the seat's own sampled tokens inside the segment.
        win_prob: see `BranchGroup.win_probs`; 1 and 0 for the chosen and rejected side of a pair.
    """

    token_ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    win_prob: float


@dataclass(frozen=True, slots=True)
class Example:
    """A trunk and the branches that are compared on it; a pair is (chosen, rejected)."""

    group_id: str
    trunk_ids: tuple[int, ...]
    branches: tuple[BranchTokens, ...]
