"""Several scorings of one episode, by one judge or by many: their mean, and how far they differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import mean, variance

from judges.base import DIMENSION_RANGES, SAME, Scores

Seats = tuple[Scores, ...]
"""One scoring: each seat's scores."""


def mean_scores(samples: Sequence[Seats]) -> tuple[Scores, ...]:
    """Dimension by dimension, seat by seat."""
    return tuple(
        Scores(**{name: mean(getattr(each, name) for each in seat) for name in DIMENSION_RANGES})
        for seat in zip(*samples, strict=True)
    )


def spreads(samples: Sequence[Seats]) -> dict[str, float]:
    """How far several scorings of one episode are apart, by dimension and "overall".

    The standard deviation between them (n - 1 in the denominator), root mean square over the seats;
    nothing for a single one.
    """
    if len(samples) < 2:
        return {}
    seats = list(zip(*samples, strict=True))
    return {
        name: mean(variance(float(getattr(each, name)) for each in seat) for seat in seats) ** 0.5
        for name in (*DIMENSION_RANGES, "overall")
    }


def flip_rate(samples: Sequence[Seats]) -> float | None:
    """The share of pairs of scorings that put another one of the first two seats ahead overall.

    A lead that becomes a tie is no flip. None for a single scoring.
    """
    pairs = list(combinations([lead(seats) for seats in samples], 2))
    return sum(one * other < 0 for one, other in pairs) / len(pairs) if pairs else None


def lead(seats: Seats, measure: str = "overall") -> int:
    """Which of the first two seats is ahead: 1 for seat 0, -1 for seat 1, 0 for a tie."""
    difference = float(getattr(seats[0], measure)) - float(getattr(seats[1], measure))
    return 0 if abs(difference) < SAME else 1 if difference > 0 else -1
