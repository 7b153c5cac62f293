"""The metrics of a played episode, for one seat."""

from __future__ import annotations

from collections.abc import Sequence

from envs.referee import joint_welfare
from judges.base import DIMENSION_RANGES
from training.methods.records import PlayedEpisode
from training.methods.values import scores_of

Measures = dict[str, float]
"""The metrics of one seat in one episode, by name."""


def measure(played: PlayedEpisode, seat: int) -> Measures:
    """Compute a seat's metrics: the seven dimensions, their mean, and what exposes stubbornness.

    The latter is the other side's goal, joint welfare (0..1, NaN without a task), whether there
    was a deal, words per turn, turns, and the shares of invalid actions and of near misses (a yes
    in words without the act that closes a deal). How far constrained decoding moved a turn, in
    nats, is NaN where no turn was constrained.
    """
    episode, scores = played.episode, scores_of(played, seat)
    own = [turn.action for turn in episode.turns if turn.seat == seat]
    moved = [
        made.constraint_nats
        for turn, made in zip(episode.turns, played.generations, strict=True)
        if turn.seat == seat and made is not None and made.constraint_nats is not None
    ]
    words = [len(action.text.split()) for action in own]
    return {
        **{name: float(getattr(scores, name)) for name in DIMENSION_RANGES},
        "overall": scores.overall,
        "partner_goal": scores_of(played, 1 - seat).goal,
        "joint_welfare": joint_welfare(episode.scenario.task, episode.deal)
        if episode.scenario.task
        else float("nan"),
        "deal_rate": float(episode.deal is not None),
        "words_per_turn": sum(words) / max(1, len(words)),
        "turns": float(len(episode.turns)),
        "invalid_rate": sum(action.invalid is not None for action in own) / max(1, len(own)),
        "near_miss_rate": sum(action.near_miss is not None for action in own) / max(1, len(own)),
        "constraint_nats": sum(moved) / len(moved) if moved else float("nan"),
    }


def mean_measures(parts: Sequence[Measures]) -> Measures:
    """Average metrics, such as those of both seats of one episode, so that it counts once."""
    return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}
