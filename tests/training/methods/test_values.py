"""Values by hand: what makes one continuation better than another."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import UnscoredError
from judges.base import Judgement, Scores
from tests.training.played import played
from training.methods.records import PlayedEpisode
from training.methods.values import VALUES, goal, goal_relationship, nash, scores_of

GOALS = st.floats(0, 10)


def scored(first: float, second: float, relationship: float = 0.0) -> PlayedEpisode:
    """An episode with these goals; the relationship is as seat 0 feels it."""
    scores = (Scores(9, relationship, 3, 0, 0, 1, first), Scores(9, -5, 3, 0, 0, 1, second))
    judgement = Judgement("verifiable", "1", scores, ("a", "b"))
    return replace(played("e"), judgement=judgement)


def test_goal_is_the_seats_own() -> None:
    assert (goal(scored(4, 9), 0), goal(scored(4, 9), 1)) == (4, 9)


def test_the_relationship_breaks_ties_of_the_goal() -> None:
    assert goal_relationship(scored(4, 9, relationship=3), 0) == pytest.approx(4.003)
    assert goal_relationship(scored(4, 9, 5), 0) > goal_relationship(scored(4, 9, -5), 0)
    # Goals of the families differ by more than all of the relationship: 10 points of 60 at least.
    assert goal_relationship(scored(4.02, 9, -5), 0) > goal_relationship(scored(4, 9, 5), 0)


def test_nash_by_hand() -> None:
    # sqrt((4 + 0.5) * (9 + 0.5)) = sqrt(42.75)
    assert nash(scored(4, 9), 0) == pytest.approx(sqrt(42.75))
    assert nash(scored(0, 0), 0) == 0.5
    assert nash(scored(10, 10), 1) == 10.5
    assert nash(scored(0, 10), 0) == pytest.approx(sqrt(0.5 * 10.5))


@given(GOALS, GOALS)
def test_nash_is_both_sides_alike_and_prefers_the_even(first: float, second: float) -> None:
    uneven = nash(scored(first, second), 0)
    assert uneven == nash(scored(first, second), 1) == pytest.approx(nash(scored(second, first), 0))
    mean = (first + second) / 2
    assert uneven <= nash(scored(mean, mean), 0) + 1e-9


@pytest.mark.parametrize("name", VALUES)
@given(first=GOALS, second=GOALS)
def test_more_of_the_own_goal_is_never_worse(name: str, first: float, second: float) -> None:
    assert VALUES[name].make(scored(10, second), 0) >= VALUES[name].make(scored(first, second), 0)


@pytest.mark.parametrize("name", VALUES)
def test_an_unscored_episode_has_no_value(name: str) -> None:
    unscored = played("e", scored=False)
    with pytest.raises(UnscoredError, match="Episode e is unscored \\(the judge timed out\\)"):
        VALUES[name].make(unscored, 0)


def test_scores_are_the_seats() -> None:
    assert scores_of(scored(4, 9, 3), 0).relationship == 3
    assert scores_of(scored(4, 9, 3), 1).relationship == -5
