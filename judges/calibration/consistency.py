"""Measures whether a judge scores the same episode the same way twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from judges.base import DIMENSION_RANGES, SAME, Judgement
from judges.calibration.agreement import Estimate, mean, rate
from judges.samples import Seats, lead

MEASURED = (*DIMENSION_RANGES, "overall")
"""The seven dimensions and their mean."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How one dimension's scores moved between two judgements of each episode.

    Attributes:
        flips: share of episodes in which the other seat scored higher the second time.
        changes: share of flips, of leads that became ties, and of ties that became leads.
        mae: mean absolute difference of a seat's two scores, in points.
        exact: share of seats that got the same score twice.
    """

    flips: Estimate
    changes: Estimate
    mae: Estimate
    exact: float | None


@dataclass(frozen=True, slots=True)
class Consistency:
    """How consistent two judgements of the same episodes are.

    Attributes:
        what: what was different the second time.
        episodes: how many episodes were judged twice.
        unscored: how many of them were unscored at least once, and so are not compared.
        shifts: by the names in `MEASURED`.
    """

    what: str
    episodes: int
    unscored: int
    shifts: Mapping[str, Shift]


def compare_judgements(
    what: str, first: Sequence[Judgement], second: Sequence[Judgement], *, seed: int
) -> Consistency:
    """Compare two judgements of each episode, both with scores in the episode's seat order."""
    both = [
        (one.scores, other.scores)
        for one, other in zip(first, second, strict=True)
        if one.is_scored and other.is_scored
    ]
    return Consistency(
        what,
        episodes=len(first),
        unscored=len(first) - len(both),
        shifts={name: _shift(name, both, seed) for name in MEASURED},
    )


def _shift(name: str, both: list[tuple[Seats, Seats]], seed: int) -> Shift:
    pairs = [(_scores(name, one), _scores(name, other)) for one, other in both]
    leads = [(lead(one, name), lead(other, name)) for one, other in both]
    moves = [[abs(a - b) for a, b in zip(one, other, strict=True)] for one, other in pairs]
    seats = [move for episode in moves for move in episode]
    return Shift(
        flips=rate(sum(one * other < 0 for one, other in leads), len(leads)),
        changes=rate(sum(one != other for one, other in leads), len(leads)),
        mae=mean([sum(episode) / len(episode) for episode in moves], seed=seed),
        exact=sum(move < SAME for move in seats) / len(seats) if seats else None,
    )


def _scores(name: str, seats: Seats) -> list[float]:
    return [float(getattr(scores, name)) for scores in seats]
