"""Means and intervals against values known beforehand."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import DataError
from training.evaluation.statistics import Stat, bootstrap, crossed_bootstrap, paired_bootstrap


def test_interval_agrees_with_the_normal_one() -> None:
    # 400 draws of N(5, 2): the interval is about mean -+ 1.96 * sd / sqrt(400).
    rng = random.Random(1)
    values = [rng.gauss(5, 2) for _ in range(400)]
    mean = sum(values) / 400
    sd = math.sqrt(sum((v - mean) ** 2 for v in values) / 400)
    stat = bootstrap(values, seed=0)
    assert stat.mean == pytest.approx(mean)
    assert stat.ci95 is not None
    assert stat.ci95[0] == pytest.approx(mean - 1.96 * sd / 20, abs=0.02)
    assert stat.ci95[1] == pytest.approx(mean + 1.96 * sd / 20, abs=0.02)


def test_interval_covers_the_true_mean_about_95_times_in_100() -> None:
    rng = random.Random(2)
    covered = 0
    for trial in range(200):
        stat = bootstrap([rng.gauss(0, 1) for _ in range(50)], seed=trial, resamples=500)
        assert stat.ci95 is not None
        covered += stat.ci95[0] <= 0 <= stat.ci95[1]
    # Binomial(200, .95): 190 -+ 3.1; the percentile interval is a little narrow at n = 50.
    assert 178 <= covered <= 198


def test_two_values_by_hand() -> None:
    # Resampled means of {0, 1} are 0 (1/4), 1/2 (1/2) and 1 (1/4): 2.5 % and 97.5 % are 0 and 1.
    assert bootstrap([0.0, 1.0], seed=0) == Stat(mean=0.5, ci95=(0.0, 1.0), n=2)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.5])
def test_constant_values_have_no_width(value: float) -> None:
    assert bootstrap([value] * 3, seed=0) == Stat(mean=value, ci95=(value, value), n=3)


def test_too_few_values_have_no_interval() -> None:
    assert bootstrap([], seed=0).as_dict() == {"mean": None, "ci95": None, "n": 0}
    assert bootstrap([3.0], seed=0).as_dict() == {"mean": 3.0, "ci95": None, "n": 1}


def test_as_dict_is_the_stat_of_the_summary() -> None:
    assert Stat(1.0, (0.5, 1.5), 9).as_dict() == {"mean": 1.0, "ci95": [0.5, 1.5], "n": 9}


def test_pairing_removes_what_both_sides_share() -> None:
    # Each pair differs by exactly 1, though the values spread from 0 to 990.
    before = [10.0 * i for i in range(100)]
    after = [b + 1 for b in before]
    assert paired_bootstrap(after, before, seed=0) == Stat(1.0, (1.0, 1.0), 100)


def test_pairing_follows_the_order() -> None:
    before = [10.0 * i for i in range(100)]
    shuffled = paired_bootstrap([b + 1 for b in reversed(before)], before, seed=0)
    assert shuffled.mean == pytest.approx(1.0)
    assert shuffled.ci95 is not None
    assert shuffled.ci95[1] - shuffled.ci95[0] > 100  # sd of the differences is about 577


def test_swapping_the_sides_turns_the_sign() -> None:
    assert paired_bootstrap([3.0, 5.0], [1.0, 1.0], seed=0).mean == 3.0
    assert paired_bootstrap([1.0, 1.0], [3.0, 5.0], seed=0).mean == -3.0


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=20), st.integers(0, 2**32))
def test_seed_decides_and_the_interval_lies_within_the_data(values: list[float], seed: int) -> None:
    stat = bootstrap(values, seed=seed, resamples=200)
    assert stat == bootstrap(values, seed=seed, resamples=200)
    assert stat.ci95 is not None
    assert min(values) - 1e-9 <= stat.ci95[0] <= stat.ci95[1] <= max(values) + 1e-9


def test_seeds_differ() -> None:
    rng = random.Random(3)
    values = [rng.random() for _ in range(30)]
    assert bootstrap(values, seed=1).ci95 != bootstrap(values, seed=2).ci95


def test_what_cannot_be_averaged_is_refused() -> None:
    with pytest.raises(DataError, match="value 1 of 2 is nan"):
        bootstrap([1.0, math.nan], seed=0)
    with pytest.raises(DataError, match="2 values after and 1 before"):
        paired_bootstrap([1.0, 2.0], [1.0], seed=0)


def test_of_rows_and_columns_the_cells_are_averaged() -> None:
    stat = crossed_bootstrap([[1.0, 2.0, math.nan], [3.0, math.nan, math.nan]], seed=0)
    assert stat.mean == 2.0
    assert stat.n == 2, "columns that hold a value"
    assert crossed_bootstrap([[math.nan]], seed=0) == Stat(None, None, 0)
    assert crossed_bootstrap([[4.0]], seed=0) == Stat(4.0, None, 1)
    assert crossed_bootstrap([[4.0, 4.0], [4.0, 4.0]], seed=0).ci95 == (4.0, 4.0)


def test_what_differs_from_row_to_row_is_in_the_interval() -> None:
    """Scenarios that never differ leave the seeds, and seeds that never differ the scenarios."""
    spread = [0.0, 1.0, 2.0, 3.0, 4.0]
    by_row = crossed_bootstrap([[x] * 50 for x in spread], seed=0)
    by_column = crossed_bootstrap([spread * 10] * 5, seed=0)
    # The mean of five drawn anew has sd sqrt(2 / 5) = 0.63, that of fifty sqrt(2 / 50) = 0.2.
    assert by_row.ci95 == pytest.approx((2 - 1.96 * 0.63, 2 + 1.96 * 0.63), abs=0.15)
    assert by_column.ci95 == pytest.approx((2 - 1.96 * 0.2, 2 + 1.96 * 0.2), abs=0.05)


def test_one_row_is_the_bootstrap_of_its_columns() -> None:
    values = [float(x % 7) for x in range(40)]
    crossed, plain = crossed_bootstrap([values], seed=0), bootstrap(values, seed=0)
    assert crossed.mean == plain.mean
    assert crossed.ci95 == pytest.approx(plain.ci95, abs=0.05)
