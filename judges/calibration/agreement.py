"""Measures how well a judge's scores agree with labels: correlations and errors with intervals.

The two seats of a dialogue are not independent, so intervals come from resampling whole dialogues
(the cluster bootstrap; Davison and Hinkley, 1997, section 3.8).
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
"""With fewer dialogues there is no interval, because resampling them says nothing."""

_MOST_UNDEFINED = 0.05  # share of resamples that may leave a series constant, without correlation
_BATCH_CELLS = 2_000_000  # numbers held in memory at once

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % confidence interval.

    Attributes:
        value: None if undefined, such as the correlation with a constant.
        ci95: the 95 % interval; None if it cannot be estimated.
    """

    value: float | None
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well a judge's scores agree with labels on the same scale.

    Attributes:
        pearson, spearman: correlations, in [-1, 1].
        mae: mean absolute error, in points of the scale.
        mae_of_constant: the error of always giving the labels' median. A judge with a larger `mae`
            is worse than a constant.
        exact: share of scores that equal the label.
        n: the number of scores.
        dialogues: the number of dialogues that they come from.
    """

    pearson: Estimate
    spearman: Estimate
    mae: Estimate
    mae_of_constant: float | None
    exact: float | None
    n: int
    dialogues: int


def agreement(
    scores: Sequence[float],
    labels: Sequence[float],
    dialogues: Sequence[Hashable],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Agreement:
    """Compare scores with labels.

    Args:
        scores, labels: one finite number per seat, on the same scale.
        dialogues: the dialogue that each number comes from; intervals resample these.
        seed: of the bootstrap.

    Raises:
        DataError: the three differ in length, or a number is not finite.
    """
    if not len(scores) == len(labels) == len(dialogues):
        raise DataError(
            f"Got {len(scores)} scores, {len(labels)} labels and {len(dialogues)} dialogues, but "
            "each score needs its label and its dialogue: leave unscored ones out of all three."
        )
    x, y = _finite(scores, "score"), _finite(labels, "label")
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
    """Compute the mean of numbers, each from a different dialogue, with its interval.

    Raises:
        DataError: a number is not finite.
    """
    x = _finite(values, "value")
    (found,) = _estimates(
        lambda weights: _mean(weights, x)[np.newaxis], range(x.size), seed=seed, resamples=resamples
    )
    return found


def rate(hits: int, of: int) -> Estimate:
    """Compute a share with Wilson's interval (1927), which has a width even at 0 and at 1."""
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
    """Compute S statistics with percentile intervals over resamples of whole dialogues.

    Args:
        statistic: maps the weights of n numbers in R resamples, shape (R, n), to values of shape
            (S, R), NaN if undefined.
    """
    index_of = {name: index for index, name in enumerate(dict.fromkeys(dialogues))}
    count, n = len(index_of), len(dialogues)
    found = statistic(np.ones((1, n)))[:, 0]
    if count < FEWEST_DIALOGUES:
        return [Estimate(_or_none(value)) for value in found]
    dialogue_of = np.array([index_of[name] for name in dialogues], dtype=np.intp)
    rng, batch = np.random.default_rng(seed), max(1, _BATCH_CELLS // n)
    drawn = []
    for start in range(0, resamples, batch):
        draws = min(batch, resamples - start)
        times_RK = rng.multinomial(count, np.full(count, 1 / count), size=draws)
        drawn.append(statistic(times_RK[:, dialogue_of].astype(np.float64)))
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
    """The mean in each resample; `x` is (n,) or (R, n). It is NaN for no numbers."""
    if x.shape[-1] == 0:
        return np.full(len(weights), np.nan)
    total: Floats = (weights * x).sum(axis=1) / weights.sum(axis=1)
    return total


def _pearson(weights: Floats, x: Floats, y: Floats) -> Floats:
    """Pearson's correlation in each resample; NaN if one of the two is constant."""
    x = x - _mean(weights, x)[:, np.newaxis]
    y = y - _mean(weights, y)[:, np.newaxis]
    variance_x, variance_y = _mean(weights, x**2), _mean(weights, y**2)
    # Above SAME and not above 0, because rounding leaves a constant series a little variance.
    defined = (variance_x > SAME**2) & (variance_y > SAME**2)
    spread = np.sqrt(np.where(defined, variance_x * variance_y, 1.0))
    return np.where(defined, _mean(weights, x * y) / spread, np.nan)


def _spearman(weights: Floats, x: Floats, y: Floats) -> Floats:
    """Spearman's correlation in each resample: Pearson's of the ranks, with mean ranks for ties."""
    return _pearson(weights, _ranks(weights, x), _ranks(weights, y))


def _ranks(weights: Floats, x: Floats) -> Floats:
    """Each number's rank in each resample, shape (R, n).

    With w copies of a number and c smaller ones, the copies have the ranks c + 1 to c + w and
    share their mean, c + (w + 1) / 2.
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
