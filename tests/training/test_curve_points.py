"""The learning curves have a point after every so many iterations, and after the last."""

from __future__ import annotations

from dataclasses import replace

import pytest

from training.cli.compose import compose


@pytest.mark.parametrize(
    ("every", "iterations", "points"),
    [(2, 7, [2, 4, 6, 7]), (1, 3, [1, 2, 3]), (10, 3, [3]), (2, 4, [2, 4]), (3, 0, [])],
)
def test_the_last_iteration_has_a_point(every: int, iterations: int, points: list[int]) -> None:
    evaluation = replace(compose().evaluation, every=every, curve_scenarios=8)
    rounds = range(1, iterations + 1)
    assert [n for n in rounds if evaluation.has_point(n, iterations)] == points
    assert evaluation.points(iterations) == len(points)
    without = replace(evaluation, curve_scenarios=0)
    assert not any(without.has_point(n, iterations) for n in rounds)
    assert without.points(iterations) == 0
