"""Means with 95 % bootstrap intervals: of a sample, of paired differences, of a crossed table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from envs.errors import DataError

_BATCH_CELLS = 2_000_000  # resampled numbers held in memory at once


@dataclass(frozen=True, slots=True)
class Stat:
    """A mean with its 95 % confidence interval.

    Attributes:
        mean: None for an empty sample.
        ci95: the 95 % interval of the mean; None for fewer than two values, which say nothing
            about the spread. Constant values give an interval of width 0.
        n: the number of values.
    """

    mean: float | None
    ci95: tuple[float, float] | None
    n: int

    def as_dict(self) -> dict[str, object]:
        """The STAT that `summary.json` holds; None becomes null there."""
        ci95 = None if self.ci95 is None else list(self.ci95)
        return {"mean": self.mean, "ci95": ci95, "n": self.n}


def bootstrap(values: Sequence[float], *, seed: int, resamples: int = 10_000) -> Stat:
    """Compute the mean of `values` with its percentile bootstrap interval (Efron 1979).

    The values are assumed independent. Average values that belong together, such as the two seats
    of an episode, beforehand; otherwise the interval is too narrow.

    Args:
        values: finite numbers, any count.
        seed: the same seed and values give the same interval.

    Raises:
        DataError: a value is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if not np.isfinite(sample).all():
        bad = int(np.flatnonzero(~np.isfinite(sample))[0])
        raise DataError(
            f"value {bad} of {sample.size} is {sample[bad]}, but a mean needs finite numbers: "
            "leave unscored episodes out and count them."
        )
    if sample.size == 0:
        return Stat(mean=None, ci95=None, n=0)
    mean = float(sample.mean())
    if sample.size == 1:
        return Stat(mean=mean, ci95=None, n=1)
    if sample.min() == sample.max():
        constant = float(sample[0])
        return Stat(mean=constant, ci95=(constant, constant), n=sample.size)
    interval = stats.bootstrap(
        (sample,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _BATCH_CELLS // sample.size),
        confidence_level=0.95,
        method="percentile",  # BCa can come out as nan on coarse scores; this cannot
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Stat(mean=mean, ci95=(float(interval.low), float(interval.high)), n=sample.size)


def paired_bootstrap(
    after: Sequence[float], before: Sequence[float], *, seed: int, resamples: int = 10_000
) -> Stat:
    """Compute the mean of `after[i] - before[i]` with its bootstrap interval over the pairs.

    Args:
        after: scores of the new policy.
        before: scores of the old policy, on the same scenarios and seats in the same order.

    Raises:
        DataError: the two are not equally long, or a value is not finite.
    """
    if len(after) != len(before):
        raise DataError(
            f"got {len(after)} values after and {len(before)} before, but pairs need both "
            "on the same scenarios and seats: keep only the pairs that have both."
        )
    differences = [a - b for a, b in zip(after, before, strict=True)]
    return bootstrap(differences, seed=seed, resamples=resamples)


def crossed_bootstrap(rows: Sequence[Sequence[float]], *, seed: int, resamples: int = 4000) -> Stat:
    """Compute the mean of a table of seeds by scenarios, with an interval over both.

    Rows (training seeds) and columns (scenarios) are resampled independently, and a cell counts
    as often as its row times its column (Owen 2007, the pigeonhole bootstrap). The interval
    therefore covers the variation between seeds, too. With few rows it is somewhat too narrow, as
    any bootstrap of few values is; with one row it covers the scenarios alone.

    Args:
        rows: of equal length; NaN where there is no value.

    Returns:
        A Stat whose n counts the columns that hold a value.
    """
    table = np.asarray(rows, dtype=np.float64)
    known = ~np.isnan(table)
    count = int(known.any(axis=0).sum()) if table.size else 0
    if count == 0:
        return Stat(mean=None, ci95=None, n=0)
    mean = float(table[known].mean())
    if count == 1:
        return Stat(mean=mean, ci95=None, n=1)
    rng = np.random.default_rng(seed)
    draws = [rng.multinomial(n, np.full(n, 1 / n), size=resamples) for n in table.shape]
    sums = ((draws[0] @ np.where(known, table, 0.0)) * draws[1]).sum(axis=1)
    counts = ((draws[0] @ known.astype(np.float64)) * draws[1]).sum(axis=1)
    low, high = np.quantile(sums[counts > 0] / counts[counts > 0], [0.025, 0.975])
    return Stat(mean=mean, ci95=(float(low), float(high)), n=count)
