"""The records that a training run produces: played episodes, branch groups, training examples."""

from __future__ import annotations

from dataclasses import dataclass

from engines.types import Generation
from envs.types import Episode
from judges.base import Judgement
from judges.pairwise import Preferences


@dataclass(frozen=True, slots=True)
class PlayedEpisode:
    """A finished episode with its players, generations, seed and judgement.

    Attributes:
        id: unique within a run; the same episode gets the same id again after a resume.
        players: each seat's player id.
        generations: one per turn of `episode.turns`; None where no model wrote the turn.
        parent_id: if this is a branch, the id of the episode that it branches from.
        branch_turn: transcript index of the first turn that is not shared with the parent.
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
    """A shared dialogue history (the trunk) and its scored continuations (the branches).

    Attributes:
        seat: the seat that acts at the branch turn, and whose tokens may carry loss.
        turn: transcript index of the branch turn; all branches share the turns before it.
        critic: the critic that chose the branch turn.
        reason: why it did.
        branches: branches[0] is the original continuation.
        win_probs: mean probability that a branch beats the others of its group, itself counted
            as 1/2; same length as `branches` (arXiv 2405.00675, section 4.2).
        segment_turns: how many own turns, from the branch turn on, the critic holds responsible for
            the difference between the best branch and the original; None if it does not say.
        preferences: a pairwise judge's comparisons that `win_probs` come from; None if they come
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
    """The tokens of one branch after the trunk, as sampled, with their loss mask.

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
    """A training example: a trunk and the branches compared on it; a pair is (chosen, rejected)."""

    group_id: str
    trunk_ids: tuple[int, ...]
    branches: tuple[BranchTokens, ...]
