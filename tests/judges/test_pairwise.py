"""Win rates and preference matrices by hand, and their symmetries."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import ConfigError, DataError
from judges.pairwise import preference_matrix, win_probs

values_list = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8)


def test_win_probs_by_hand() -> None:
    # (1/2 + 1 + 3/4) / 3, (0 + 1/2 + 1/2) / 3, (1/4 + 1/2 + 1/2) / 3
    preferences = [[0.5, 1.0, 0.75], [0.0, 0.5, 0.5], [0.25, 0.5, 0.5]]
    assert win_probs(preferences) == pytest.approx((0.75, 1 / 3, 1.25 / 3))


def test_a_cycle_is_a_tie_of_all() -> None:
    rock_paper_scissors = [[0.5, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.5]]
    assert win_probs(rock_paper_scissors) == (0.5, 0.5, 0.5)


def test_one_branch_alone_neither_wins_nor_loses() -> None:
    assert win_probs(preference_matrix([7.0])) == (0.5,)


def test_hard_preferences_tie_inside_the_margin() -> None:
    assert preference_matrix([3.0, 2.0, 0.0], 1.0) == (
        (0.5, 0.5, 1.0),  # 1 apart is still inside
        (0.5, 0.5, 1.0),
        (0.0, 0.0, 0.5),
    )


def test_margin_ties_need_not_be_transitive() -> None:
    # 0 ~ 1 and 1 ~ 2, but 2 beats 0: means 1/3, 1/2, 2/3.
    assert win_probs(preference_matrix([0.0, 1.0, 2.0], 1.0)) == pytest.approx((1 / 3, 0.5, 2 / 3))


def test_bradley_terry_by_hand() -> None:
    # A difference of 2 ln 3 at temperature 2: odds of 3 to 1.
    matrix = preference_matrix([2 * math.log(3), 0.0], temperature=2.0)
    assert matrix[0] == pytest.approx((0.5, 0.75))
    assert matrix[1] == pytest.approx((0.25, 0.5))


def test_bradley_terry_ties_inside_the_margin_and_cannot_overflow() -> None:
    assert preference_matrix([1.0, 0.0], 1.0, temperature=0.1)[0][1] == 0.5
    assert preference_matrix([1e9, 0.0], temperature=1e-9)[1][0] == 0.0


@given(values_list, st.floats(0, 10), st.sampled_from([0.0, 0.5, 3.0]))
def test_every_game_has_one_winner(values: list[float], margin: float, temperature: float) -> None:
    preferences = preference_matrix(values, margin, temperature=temperature)
    probs = win_probs(preferences)
    size = len(values)
    assert sum(probs) == pytest.approx(size / 2)
    assert all(1 / (2 * size) - 1e-9 <= prob <= 1 - 1 / (2 * size) + 1e-9 for prob in probs)
    best = max(range(size), key=values.__getitem__)
    assert probs[best] == max(probs)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6))
def test_the_coldest_bradley_terry_is_the_hard_preference(values: list[float]) -> None:
    # Outside a margin of 0.1 a temperature of 1e-3 leaves less than e^-100 to chance.
    cold = preference_matrix(values, 0.1, temperature=1e-3)
    hard = preference_matrix(values, 0.1)
    assert [x for row in cold for x in row] == pytest.approx([x for row in hard for x in row])


@pytest.mark.parametrize(
    "preferences",
    [
        [],
        [[0.5, 1.0]],
        [[0.5, 1.0], [0.0]],
        [[1.0, 1.0], [0.0, 0.5]],  # the diagonal
        [[0.5, 0.9], [0.3, 0.5]],  # sums to 1.2
        [[0.5, 1.5], [-0.5, 0.5]],
        [[0.5, math.nan], [math.nan, 0.5]],
    ],
)
def test_what_is_no_preference_is_refused(preferences: list[list[float]]) -> None:
    with pytest.raises(DataError, match="expected"):
        win_probs(preferences)


def test_values_must_be_comparable() -> None:
    with pytest.raises(DataError, match="value of branch 1 is nan"):
        preference_matrix([1.0, math.nan])


@pytest.mark.parametrize("option", [-0.1, math.inf, math.nan])
def test_options_out_of_range_are_refused(option: float) -> None:
    with pytest.raises(ConfigError, match="margin is"):
        preference_matrix([1.0], option)
    with pytest.raises(ConfigError, match="temperature is"):
        preference_matrix([1.0], temperature=option)
