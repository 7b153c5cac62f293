"""Agreement by hand, against scipy, and intervals that count dialogues and not seats."""

from __future__ import annotations

from math import nan, sqrt

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from envs.errors import DataError
from judges.calibration.agreement import (
    FEWEST_DIALOGUES,
    Agreement,
    Estimate,
    agreement,
    mean,
    rate,
)


def agree(said: list[float], labels: list[float], **options: int) -> Agreement:
    """Each number from a dialogue of its own."""
    return agreement(said, labels, range(len(said)), seed=0, **options)


def correlated(rng: np.random.Generator, count: int, rho: float) -> tuple[list[float], list[float]]:
    """Two normal series whose true correlation is `rho`."""
    labels = rng.standard_normal(count)
    said = rho * labels + sqrt(1 - rho**2) * rng.standard_normal(count)
    return said.tolist(), labels.tolist()


def test_three_numbers_by_hand() -> None:
    # Deviations -1 0 1 and -11/3 -8/3 19/3: products sum to 10, squares to 2 and 546/9.
    found = agree([0, 1, 2], [0, 1, 10])
    assert found.pearson.value == pytest.approx(10 / sqrt(2 * 546 / 9))
    assert found.spearman.value == pytest.approx(1)  # both only rise
    assert found.mae.value == pytest.approx(8 / 3)
    assert found.mae_of_constant == pytest.approx((1 + 0 + 9) / 3)  # always saying 1, the median
    assert found.exact == pytest.approx(2 / 3)
    assert (found.n, found.dialogues) == (3, 3)


def test_ties_share_the_middle_rank() -> None:
    # Ranks 1.5 1.5 3 and 1 2 3: products of deviations sum to 1.5, squares to 1.5 and 2.
    assert agree([4, 4, 9], [1, 2, 3]).spearman.value == pytest.approx(1.5 / sqrt(1.5 * 2))


def test_opposites_anticorrelate() -> None:
    found = agree([1, 2, 3, 4], [4, 3, 2, 1])
    assert found.pearson.value == found.spearman.value == pytest.approx(-1)


coarse = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=30)


@given(pairs=coarse)
def test_correlations_are_scipys(pairs: list[tuple[int, int]]) -> None:
    said, labels = ([float(value) for value in series] for series in zip(*pairs, strict=True))
    assume(len(set(said)) > 1 and len(set(labels)) > 1)
    found = agree(said, labels, resamples=10)
    assert found.pearson.value == pytest.approx(stats.pearsonr(said, labels)[0], abs=1e-9)
    assert found.spearman.value == pytest.approx(stats.spearmanr(said, labels)[0], abs=1e-9)


def test_an_interval_is_that_of_dialogues_drawn_and_written_out() -> None:
    rng = np.random.default_rng(1)
    said = rng.integers(0, 4, 24).astype(float)  # coarse, so that draws are full of ties
    labels = said + rng.integers(0, 3, 24)
    dialogues = np.repeat(np.arange(12), 2)
    draws = np.random.default_rng(7).multinomial(12, np.full(12, 1 / 12), size=50)
    rows = [np.repeat(np.arange(24), draw[dialogues]) for draw in draws]
    by_hand = [stats.spearmanr(said[row], labels[row])[0] for row in rows]
    found = agreement(
        said.tolist(), labels.tolist(), dialogues.tolist(), seed=7, resamples=50
    ).spearman
    assert found.ci95 == pytest.approx(tuple(np.quantile(by_hand, [0.025, 0.975])))


def test_a_second_seat_that_says_the_same_makes_nothing_surer() -> None:
    said, labels = correlated(np.random.default_rng(2), 40, 0.5)
    once = agree(said, labels)
    twice = agreement(said * 2, labels * 2, [*range(40), *range(40)], seed=0)
    assert twice.n == 80
    assert twice.dialogues == once.dialogues == 40
    for name in ("pearson", "spearman", "mae"):
        assert getattr(twice, name).ci95 == pytest.approx(getattr(once, name).ci95)
    apart = agree(said * 2, labels * 2)
    assert width(apart.pearson) < 0.85 * width(once.pearson)  # about 1 / sqrt(2)


def width(estimate: Estimate) -> float:
    assert estimate.ci95 is not None
    return estimate.ci95[1] - estimate.ci95[0]


def test_intervals_hold_the_true_correlation_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(100):
        interval = agree(*correlated(rng, 60, 0.6), resamples=300).pearson.ci95
        assert interval is not None
        held += interval[0] <= 0.6 <= interval[1]
    assert 86 <= held <= 100


def test_a_constant_judge_has_an_error_and_no_correlation() -> None:
    found = agree([0.1] * 10, [float(n) for n in range(10)])
    assert found.pearson == found.spearman == Estimate(None)
    assert found.mae.value == pytest.approx(4.42)  # 0.1 for the 0, then 0.9 to 8.9
    assert found.mae.ci95 is not None


def test_a_correlation_that_hangs_on_one_dialogue_has_no_interval() -> None:
    # Without the one, which a third of the draws miss, the labels are constant.
    found = agree([0.0, 1.0, 2.0, 3.0, 4.0, 9.0], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    assert found.pearson.value is not None
    assert found.pearson.ci95 is None


def test_few_dialogues_give_no_interval() -> None:
    few = FEWEST_DIALOGUES - 1
    said = [float(n) for n in range(2 * few)]
    found = agreement(said, said, [n // 2 for n in range(2 * few)], seed=0)
    assert found.mae == Estimate(0.0)
    assert found.pearson.ci95 is None


def test_nothing_agrees_with_nothing() -> None:
    found = agree([], [])
    assert found == Agreement(Estimate(None), Estimate(None), Estimate(None), None, None, 0, 0)


def test_the_same_seed_gives_the_same_interval() -> None:
    said, labels = correlated(np.random.default_rng(4), 30, 0.3)
    assert agree(said, labels) == agree(said, labels)
    other = agreement(said, labels, range(30), seed=1)
    assert other.pearson.ci95 != agree(said, labels).pearson.ci95


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="2 scores, 1 labels and 2 dialogues"):
        agreement([1, 2], [1], [0, 1], seed=0)
    with pytest.raises(DataError, match="The score 1 of 2 is nan"):
        agree([1, nan], [1, 2])
    with pytest.raises(DataError, match="The label 0 of 2 is nan"):
        agree([1, 2], [nan, 2])


def test_a_mean_with_its_interval() -> None:
    found = mean([1, 2, 3, 4, 5], seed=0)
    assert found.value == 3
    assert found.ci95 is not None
    assert 1 <= found.ci95[0] < 3 < found.ci95[1] <= 5
    assert mean([2, 2, 2, 2, 2], seed=0) == Estimate(2, (2, 2))
    assert mean([], seed=0) == Estimate(None)


def test_a_share_of_nothing_seen_still_has_a_width() -> None:
    # Wilson's upper bound at 0 of n is z^2 / (n + z^2), with z^2 = 3.8415: 0.2775 at 10.
    none = rate(0, 10)
    assert none.value == 0
    assert none.ci95 == pytest.approx((0, 0.2775), abs=1e-4)
    assert rate(10, 10).ci95 == pytest.approx((1 - 0.2775, 1), abs=1e-4)
    assert rate(0, 0) == Estimate(None)
