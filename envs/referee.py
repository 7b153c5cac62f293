"""Scores deals: goals, joint welfare and the best attainable, computed by trying every deal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from envs.types import Deal

if TYPE_CHECKING:  # the families behind envs.scenarios use this module
    from envs.scenarios.task import Task

MAX_GOAL = 10.0
"""The goal score of a seat that got what it aimed for, or more."""

MOST_DEALS = 100_000
"""Of a task that is read from a file: more would take long to try."""


@dataclass(frozen=True, slots=True)
class Attainable:
    """The best deals of a task and what they are worth.

    Attributes:
        best: each seat's points in the deal it likes most; both rarely come together.
        best_sum: the largest sum of both seats' points over all deals.
        nash_deal: the deal with the largest product of gains over no deal among those in which
            both gain; ties go to the smaller gap between the gains, then to the earlier deal.
            Where both gain in no deal, the one with the largest sum.
        pareto: the deals that no other deal beats for one seat without costing the other.
    """

    best: tuple[float, float]
    best_sum: float
    nash_deal: Deal
    pareto: frozenset[Deal]


def utilities(task: Task, deal: Deal | None) -> tuple[float, float]:
    """Both seats' points in `deal`, in seat order; None is no deal."""
    if deal is None:
        return task.no_deal(0), task.no_deal(1)
    return task.utility(0, deal), task.utility(1, deal)


def goal_score(task: Task, seat: int, deal: Deal | None) -> float:
    """How far `seat` reached its aim, 0..10: 10 * min(1, max(0, utility) / aim)."""
    points = utilities(task, deal)[seat]
    return MAX_GOAL * min(1.0, max(0.0, points) / task.aims[seat])


def joint_welfare(task: Task, deal: Deal | None) -> float:
    """The sum of both seats' points over the largest attainable sum, 0..1.

    It is 0 where the points sum to nothing or less (so without a deal, but in tasks that give
    points for none), and wherever no deal has a positive sum of points.
    """
    best_sum = attainable(task).best_sum
    if best_sum <= 0:
        return 0.0
    return min(1.0, max(0.0, sum(utilities(task, deal)) / best_sum))


def is_pareto(task: Task, deal: Deal | None) -> bool:
    """Whether no other deal gives one seat more and the other no less; False without a deal."""
    return deal in attainable(task).pareto


def deals_reaching_aims(task: Task) -> int:
    """The number of deals that reach both aims."""
    return sum(
        task.utility(0, deal) >= task.aims[0] and task.utility(1, deal) >= task.aims[1]
        for deal in task.deals()
    )


@lru_cache(maxsize=16384)
def attainable(task: Task) -> Attainable:
    """The best deals of `task`, found by trying them all once per task."""
    points = {deal: utilities(task, deal) for deal in task.deals()}
    return Attainable(
        best=(max(own for own, _ in points.values()), max(own for _, own in points.values())),
        best_sum=max(map(sum, points.values())),
        nash_deal=_nash_deal(points, utilities(task, None)),
        pareto=_pareto(points),
    )


def _nash_deal(points: dict[Deal, tuple[float, float]], without: tuple[float, float]) -> Deal:
    """The Nash bargaining solution; the earliest of equally good deals, as `max` takes it."""
    gains = {deal: (own - without[0], other - without[1]) for deal, (own, other) in points.items()}
    good_for_both = [deal for deal, both in gains.items() if min(both) > 0]
    if not good_for_both:
        return max(points, key=lambda deal: sum(points[deal]))

    def product_then_fairness(deal: Deal) -> tuple[float, float]:
        first, second = gains[deal]
        return first * second, -abs(first - second)

    return max(good_for_both, key=product_then_fairness)


def _pareto(points: dict[Deal, tuple[float, float]]) -> frozenset[Deal]:
    """The Pareto-optimal deals, found by a sweep from the first seat's best deal downwards.

    A deal is optimal if the second seat gets more than in all deals before it. Deals with equal
    points are optimal together.
    """
    frontier: set[tuple[float, float]] = set()
    best_second = float("-inf")
    for first, second in sorted(set(points.values()), reverse=True):
        if second > best_second:
            frontier.add((first, second))
            best_second = second
    return frozenset(deal for deal, both in points.items() if both in frontier)
