"""How well two series of numbers agree, with intervals that know which numbers belong together.

The two seats of one dialogue are not independent, so intervals come from drawing whole dialogues
with replacement (the cluster bootstrap; Davison and Hinkley, 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from envs.errors import DataError
from judges.base import SAME

RESAMPLES = 2000
FEWEST_DIALOGUES = 5
"""Below that many, drawing them again says nothing of the spread, and there is no interval."""

_MOST_UNDEFINED = 0.05  # share of resamples that may leave a series constant, without correlation
_BATCH_CELLS = 2_000_000  # numbers held in memory at once

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and how sure of it we are.

    Attributes:
        value: None where it is not defined, such as the correlation with a constant.
        ci95: the 95 % interval; None where it cannot be said.
    """

    value: float | None
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a judge said against labels on the same scale.

    Attributes:
        pearson, spearman: correlations, in [-1, 1].
        mae: mean absolute error, in points of the scale.
        mae_of_constant: the error of saying the labels' median every time. A judge with a larger
            one is further from the labels than somebody who has not read a word.
        exact: share of the numbers that are the label itself.
        n: how many numbers.
        dialogues: out of how many dialogues.
    """

    pearson: Estimate
    spearman: Estimate
    mae: Estimate
    mae_of_constant: float | None
    exact: float | None
    n: int
    dialogues: int


def agreement(
    said: Sequence[float],
    labels: Sequence[float],
    dialogues: Sequence[Hashable],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Agreement:
    """Hold what was said against the labels.

    Args:
        said, labels: one number a seat, finite, on one scale.
        dialogues: which dialogue each number comes from; intervals are over these.

    Raises:
        DataError: the three are not equally long, or a number is not finite.
    """
    if not len(said) == len(labels) == len(dialogues):
        raise DataError(
            f"Got {len(said)} scores, {len(labels)} labels and {len(dialogues)} dialogues, but "
            "each score needs its label and its dialogue: leave unscored ones out of all three."
        )
    x, y = _finite(said, "score"), _finite(labels, "label")
    pearson, spearman, mae = _estimates(
        lambda weights: np.stack(
            [_pearson(weights, x, y), _spearman(weights, x, y), _mean(weights, np.abs(x - y))]
        ),
        dialogues,
        seed=seed,
        resamples=resamples,
    )
    return Agreement(
        pearson,
        spearman,
        mae,
        mae_of_constant=float(np.abs(y - np.median(y)).mean()) if y.size else None,
        exact=float((np.abs(x - y) < SAME).mean()) if y.size else None,
        n=x.size,
        dialogues=len(set(dialogues)),
    )


def mean(values: Sequence[float], *, seed: int, resamples: int = RESAMPLES) -> Estimate:
    """The mean of numbers of which each comes from a dialogue of its own.

    Raises:
        DataError: a number is not finite.
    """
    x = _finite(values, "value")
    (found,) = _estimates(
        lambda weights: _mean(weights, x)[np.newaxis], range(x.size), seed=seed, resamples=resamples
    )
    return found


def rate(hits: int, of: int) -> Estimate:
    """A share with Wilson's interval (1927), which has a width where nothing or all was hit."""
    if of == 0:
        return Estimate(None)
    interval = stats.binomtest(hits, of).proportion_ci(0.95, method="wilson")
    return Estimate(hits / of, (float(interval.low), float(interval.high)))


def _estimates(
    statistic: Callable[[Floats], Floats],
    dialogues: Sequence[Hashable],
    *,
    seed: int,
    resamples: int,
) -> list[Estimate]:
    """Statistics S with their percentile intervals over draws of whole dialogues.

    Args:
        statistic: of n numbers, from how often each counts in each of R draws: (R, n) to (S, R),
            nan where it is not defined.
    """
    place = {name: index for index, name in enumerate(dict.fromkeys(dialogues))}
    count, n = len(place), len(dialogues)
    found = statistic(np.ones((1, n)))[:, 0]
    if count < FEWEST_DIALOGUES:
        return [Estimate(_or_none(value)) for value in found]
    drawn_of = np.array([place[name] for name in dialogues], dtype=np.intp)
    rng, batch = np.random.default_rng(seed), max(1, _BATCH_CELLS // n)
    drawn = []
    for start in range(0, resamples, batch):
        draws = min(batch, resamples - start)
        times_RK = rng.multinomial(count, np.full(count, 1 / count), size=draws)
        drawn.append(statistic(times_RK[:, drawn_of].astype(np.float64)))
    samples = np.concatenate(drawn, axis=1)
    return [
        Estimate(_or_none(value), None if np.isnan(value) else _percentiles(row))
        for value, row in zip(found, samples, strict=True)
    ]


def _percentiles(drawn: Floats) -> tuple[float, float] | None:
    undefined = np.isnan(drawn)
    if undefined.mean() > _MOST_UNDEFINED:
        return None
    low, high = np.quantile(drawn[~undefined], [0.025, 0.975])
    return float(low), float(high)


def _mean(weights: Floats, x: Floats) -> Floats:
    """The mean in each draw; `x` is (n,) or (R, n). Nothing has no mean."""
    if x.shape[-1] == 0:
        return np.full(len(weights), np.nan)
    total: Floats = (weights * x).sum(axis=1) / weights.sum(axis=1)
    return total


def _pearson(weights: Floats, x: Floats, y: Floats) -> Floats:
    """Pearson's correlation in each draw; nan where one of the two is constant."""
    x = x - _mean(weights, x)[:, np.newaxis]
    y = y - _mean(weights, y)[:, np.newaxis]
    variance_x, variance_y = _mean(weights, x**2), _mean(weights, y**2)
    # Above SAME and not above 0, because rounding leaves a constant series a little variance.
    defined = (variance_x > SAME**2) & (variance_y > SAME**2)
    spread = np.sqrt(np.where(defined, variance_x * variance_y, 1.0))
    return np.where(defined, _mean(weights, x * y) / spread, np.nan)


def _spearman(weights: Floats, x: Floats, y: Floats) -> Floats:
    """Spearman's correlation in each draw: Pearson's of the ranks, ties sharing the middle one."""
    return _pearson(weights, _ranks(weights, x), _ranks(weights, y))


def _ranks(weights: Floats, x: Floats) -> Floats:
    """Each number's rank among the numbers of each draw, (R, n).

    With w copies of a number and c smaller ones, they hold the ranks c + 1 to c + w, and share
    the middle, c + (w + 1) / 2.
    """
    kinds, kind = np.unique(x, return_inverse=True)
    order = np.argsort(kind, kind="stable")
    ends = np.searchsorted(kind[order], np.arange(kinds.size), side="right")
    up_to = np.cumsum(weights[:, order], axis=1)[:, ends - 1]  # copies of a kind or smaller ones
    smaller = np.concatenate([np.zeros((len(weights), 1)), up_to[:, :-1]], axis=1)
    middle: Floats = (smaller + up_to + 1) / 2
    return middle[:, kind]


def _finite(values: Sequence[float], what: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise DataError(
            f"The {what} {bad[0]} of {array.size} is {array[bad[0]]}, but agreement needs finite "
            "numbers: leave out what is unscored, and count it."
        )
    return array


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
