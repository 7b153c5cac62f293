"""The mean of several scorings, their spread and their flips, by hand."""

from __future__ import annotations

from math import sqrt

import pytest

from judges.base import Scores
from judges.samples import Seats, flip_rate, lead, mean_scores, spreads


def goals(first: float, second: float) -> Seats:
    return Scores(0, 0, 0, 0, 0, 0, first), Scores(0, 0, 0, 0, 0, 0, second)


def test_spreads_by_hand() -> None:
    samples = [goals(1, 5), goals(3, 5), goals(5, 5)]
    assert [scores.goal for scores in mean_scores(samples)] == [3, 5]
    # Variances (4 + 0 + 4) / 2 = 4 and 0; root of their mean 2.
    assert spreads(samples)["goal"] == pytest.approx(sqrt(2))
    assert spreads(samples)["overall"] == pytest.approx(sqrt(2) / 7)
    assert spreads(samples[:1]) == {}


def test_flips_by_hand() -> None:
    assert flip_rate([goals(1, 0)]) is None
    assert flip_rate([goals(1, 0), goals(2, 1)]) == 0
    assert flip_rate([goals(1, 0), goals(0, 0)]) == 0  # a tie is no flip
    assert flip_rate([goals(1, 0), goals(3, 0), goals(0, 1)]) == pytest.approx(2 / 3)


def test_a_tie_is_a_tie_in_whatever_order_it_was_summed_up() -> None:
    first, second = Scores(0.1, 0.2, 0.3, 0, 0, 0, 0), Scores(0.3, 0.2, 0.1, 0, 0, 0, 0)
    assert first.overall != second.overall
    assert lead((first, second)) == lead((second, first)) == 0
    assert flip_rate([(first, second), (second, first)]) == 0


def test_leads_by_hand() -> None:
    seats = goals(7, 3)
    assert (lead(seats), lead(seats[::-1]), lead(seats, "secret")) == (1, -1, 0)
