"""What makes one continuation better than another for a seat, as one number."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

from envs.errors import UnscoredError
from envs.registry import Component, Registry
from judges.base import Scores
from training.methods.records import PlayedEpisode

Value = Callable[[PlayedEpisode, int], float]
"""The value of an episode for a seat; higher is better."""

VALUES: Registry[Component] = Registry("value", group="values", modules=["training.methods.values"])
"""All values by name."""


def value(name: str) -> Callable[[Value], Value]:
    """Register what makes one continuation better than another, by its name."""

    def register(function: Value) -> Value:
        VALUES.add(Component(name=name, make=function))
        return function

    return register


_RELATIONSHIP_WEIGHT = 1e-3


@value("goal")
def goal(played: PlayedEpisode, seat: int) -> float:
    """The seat's own goal score, 0..10."""
    return scores_of(played, seat).goal


@value("goal_relationship")
def goal_relationship(played: PlayedEpisode, seat: int) -> float:
    """Goal first, relationship to break ties, as SDPO ranks positives (arXiv 2501.01821, 3.2)."""
    scores = scores_of(played, seat)
    return scores.goal + _RELATIONSHIP_WEIGHT * scores.relationship


@value("nash")
def nash(played: PlayedEpisode, seat: int) -> float:
    """The Nash product of both goals, as a geometric mean, 0.5..10.5.

    Half a point is added to each goal, so that a deal worth nothing to one side still tells
    generous from stubborn.
    """
    own, other = scores_of(played, seat).goal, scores_of(played, 1 - seat).goal
    return sqrt((own + 0.5) * (other + 0.5))


def scores_of(played: PlayedEpisode, seat: int) -> Scores:
    """The seat's scores.

    Raises:
        UnscoredError: the judge could not score the episode.
    """
    if not played.judgement.is_scored:
        raise UnscoredError(
            f"Episode {played.id} is unscored ({'; '.join(played.judgement.reasons)}); "
            "leave it out or score it again."
        )
    return played.judgement.scores[seat]
