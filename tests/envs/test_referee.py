"""The referee against points worked out by hand, and properties over random tables."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.referee import attainable, goal_score, is_pareto, joint_welfare, utilities
from envs.scenarios.task import Task
from envs.types import Deal


@dataclass(frozen=True, slots=True)
class Table(Task):
    """A task whose deals are the rows of a table of points."""

    points: tuple[tuple[float, float], ...]

    def deals(self) -> tuple[Deal, ...]:
        return tuple((row,) for row in range(len(self.points)))

    def utility(self, seat: int, deal: Deal) -> float:
        return self.points[deal[0]][seat]

    def terms(self, seat: int, deal: Deal) -> str:
        return str(deal[0])

    def parse_terms(self, seat: int, text: str) -> Deal:
        return (int(text),)

    def appraise(self, seat: int, deal: Deal) -> tuple[int, ...]:
        return (int(self.utility(seat, deal)),)


# Products 0, 16, 24, 21, 0 and sums 8, 10, 10, 10, 9; (2, 5) is beaten by (3, 7) and (4, 6).
BARGAIN = Table(aims=(4.0, 6.0), points=((8, 0), (2, 5), (4, 6), (3, 7), (0, 9), (-1, 4)))

points_table = st.lists(
    st.tuples(st.integers(-3, 6), st.integers(-3, 6)), min_size=1, max_size=12
).map(lambda rows: Table(aims=(3.0, 3.0), points=tuple((float(a), float(b)) for a, b in rows)))


def test_no_deal_is_worth_nothing_to_both() -> None:
    assert utilities(BARGAIN, None) == (0.0, 0.0)
    assert goal_score(BARGAIN, 0, None) == 0.0
    assert joint_welfare(BARGAIN, None) == 0.0
    assert not is_pareto(BARGAIN, None)


@pytest.mark.parametrize(
    ("seat", "deal", "score"),
    [
        (0, (2,), 10.0),  # 4 of 4
        (0, (0,), 10.0),  # 8 of 4: greed beyond the aim earns nothing
        (0, (1,), 5.0),  # 2 of 4
        (1, (1,), 10 * 5 / 6),
        (0, (5,), 0.0),  # a loss is as bad as no deal
    ],
)
def test_goal_is_the_share_of_the_aim(seat: int, deal: Deal, score: float) -> None:
    assert goal_score(BARGAIN, seat, deal) == pytest.approx(score)


def test_attainable_by_hand() -> None:
    found = attainable(BARGAIN)
    assert found.best == (8, 9)
    assert found.best_sum == 10
    assert found.nash_deal == (2,)
    assert found.pareto == {(0,), (2,), (3,), (4,)}
    assert attainable(BARGAIN) is found


def test_joint_welfare_by_hand() -> None:
    assert joint_welfare(BARGAIN, (1,)) == pytest.approx(0.7)
    assert joint_welfare(BARGAIN, (3,)) == 1.0
    assert joint_welfare(Table(aims=(1.0, 1.0), points=((-1, 2), (-3, 2))), (1,)) == 0.0


def test_joint_welfare_is_zero_where_nothing_can_be_gained() -> None:
    assert joint_welfare(Table(aims=(1.0, 1.0), points=((-1, 0), (-2, 1))), (0,)) == 0.0


def test_nash_ties_go_to_the_smaller_gap_then_to_the_earlier_deal() -> None:
    assert attainable(Table(aims=(1.0, 1.0), points=((2, 6), (3, 4), (4, 3)))).nash_deal == (1,)


def test_nash_ignores_two_losses_whose_product_is_positive() -> None:
    assert attainable(Table(aims=(1.0, 1.0), points=((-9, -9), (1, 1)))).nash_deal == (1,)


def test_nash_without_a_deal_for_both_takes_the_largest_sum() -> None:
    assert attainable(Table(aims=(1.0, 1.0), points=((0, 0), (5, 0), (9, -6)))).nash_deal == (1,)


def test_equal_points_are_equally_pareto() -> None:
    assert attainable(Table(aims=(1.0, 1.0), points=((1, 1), (2, 1), (2, 1)))).pareto == {
        (1,),
        (2,),
    }


@given(points_table)
def test_pareto_agrees_with_its_definition(task: Table) -> None:
    def is_beaten(deal: Deal) -> bool:
        first, second = utilities(task, deal)
        others = (utilities(task, other) for other in task.deals())
        return any(a >= first and b >= second and (a, b) != (first, second) for a, b in others)

    for deal in task.deals():
        assert is_pareto(task, deal) is not is_beaten(deal)


@given(points_table)
def test_the_nash_deal_is_pareto_and_scores_stay_in_range(task: Table) -> None:
    assert is_pareto(task, attainable(task).nash_deal)
    for deal in (None, *task.deals()):
        assert 0.0 <= joint_welfare(task, deal) <= 1.0
        assert all(0.0 <= goal_score(task, seat, deal) <= 10.0 for seat in (0, 1))
