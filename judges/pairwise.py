"""Who beats whom among the branches of one group, and each branch's mean probability to win.

Preferences come from one number a branch, or from a judge that is shown two branches at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

from engines.gather import together
from envs.errors import ConfigError, DataError
from envs.types import Episode

_TIE = 0.5
_TOLERANCE = 1e-6

Matrix = tuple[tuple[float | None, ...], ...]
"""P[k][j], the probability that branch k beats j; None where that could not be told."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a pairwise judge says of two continuations.

    Attributes:
        win_prob: that the first one is better, in [0, 1], a tie counting 1/2; None is unscored.
        reason: one sentence, for people.
        samples: how often it was asked in both orders.
        flips: in how many of these the other one won in the other order.
        models: the names of the models that answered, as their servers gave them.
    """

    win_prob: float | None
    reason: str
    samples: int = 0
    flips: int = 0
    models: tuple[str, ...] = ()


class PairwiseJudge(Protocol):
    """Anything that can say which of two continuations is better."""

    @property
    def id(self) -> str: ...

    @property
    def version(self) -> str: ...

    async def compare(self, first: Episode, second: Episode, seat: int, turn: int) -> Comparison:
        """Compare what `seat` made of one history.

        Args:
            first, second: of one scenario, with the same turns before `turn`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Preferences:
    """Who beats whom among the K branches of a group, as a pairwise judge sees it.

    Attributes:
        matrix: shape (K, K), 1/2 on the diagonal. It may hold cycles.
        samples, flips: summed over all pairs (see `Comparison`).
    """

    judge_id: str
    judge_version: str
    matrix: Matrix
    samples: int
    flips: int

    @property
    def unscored_share(self) -> float:
        """The share of pairs of branches that could not be compared, in [0, 1]."""
        found = counts([self])
        return found["unscored"] / max(1, found["pairs"])

    @property
    def is_usable(self) -> bool:
        """Whether every branch could be compared with some other."""
        others = [row[:k] + row[k + 1 :] for k, row in enumerate(self.matrix)]
        return all(any(found is not None for found in row) for row in others)


def counts(groups: Iterable[Preferences]) -> dict[str, int]:
    """How a pairwise judge fared over many groups, for reports.

    Returns:
        pairs of branches and how many of them stayed `unscored`; samples and their flips.
    """
    kept = list(groups)
    cells = [said.matrix[k][j] for said in kept for k, j in _pairs(len(said.matrix))]
    return {
        "pairs": len(cells),
        "unscored": sum(cell is None for cell in cells),
        "samples": sum(said.samples for said in kept),
        "flips": sum(said.flips for said in kept),
    }


async def ask_all_pairs(
    judge: PairwiseJudge,
    branches: Sequence[Episode],
    seat: int,
    turn: int,
) -> Preferences:
    """Ask a judge about each unordered pair of branches once.

    Continuations that are alike turn by turn tie without being shown to anybody.

    Args:
        branches: K >= 2 of one scenario, with the same turns before `turn`.
    """

    async def compared(first: Episode, second: Episode) -> Comparison:
        if first.turns == second.turns:
            return Comparison(_TIE, "Both are the same.")
        return await judge.compare(first, second, seat, turn)

    pairs = _pairs(len(branches))
    found = await together(compared(branches[k], branches[j]) for k, j in pairs)
    matrix: list[list[float | None]] = [[_TIE] * len(branches) for _ in branches]
    for (k, j), comparison in zip(pairs, found, strict=True):
        matrix[k][j] = comparison.win_prob
        matrix[j][k] = None if comparison.win_prob is None else 1 - comparison.win_prob
    served = "+".join(sorted({model for comparison in found for model in comparison.models}))
    return Preferences(
        judge_id=judge.id,
        judge_version=f"{judge.version}@{served}" if served else judge.version,
        matrix=tuple(map(tuple, matrix)),
        samples=sum(comparison.samples for comparison in found),
        flips=sum(comparison.flips for comparison in found),
    )


def preference_matrix(
    values: Sequence[float], margin: float = 0.0
) -> tuple[tuple[float, ...], ...]:
    """Which branch beats which, from one number a branch.

    Such a matrix holds no cycles; a pairwise judge's may.

    Args:
        values: one score a branch, shape (K,); more is better.
        margin: branches at most this far apart tie at 1/2, so that noise is no preference.

    Returns:
        P of shape (K, K): P[k][j] is 1 where k beats j, 0 where j beats k, else 1/2.

    Raises:
        ConfigError: the margin is negative or not finite.
        DataError: a value is not finite.
    """
    if not (math.isfinite(margin) and margin >= 0):
        raise ConfigError(f"margin is {margin}, but must be finite and at least 0.")
    for index, value in enumerate(values):
        if not math.isfinite(value):
            raise DataError(
                f"The value of branch {index} is {value}, which cannot be compared;"
                " leave unscored branches out of the group."
            )
    return tuple(tuple(_preference(own - other, margin) for other in values) for own in values)


def win_probs(preferences: Sequence[Sequence[float | None]]) -> tuple[float, ...]:
    """Each branch's mean probability to beat the branches of its group, itself counted as 1/2.

    This is the sampled estimate of the win rate against the policy (SPPO, arXiv 2405.00675,
    section 4.2): mean over j of P[k][j]. Cycles (a beats b beats c beats a) are allowed.

    Args:
        preferences: P of shape (K, K), K >= 1, with P[k][j] + P[j][k] = 1, or None for both: such a
            pair is left out of either mean, for a guess of 1/2 would be a preference too.

    Returns:
        K numbers, each between 1/(2K) and 1 - 1/(2K); their mean is 1/2 where nothing is None.

    Raises:
        DataError: P is empty, not square, or not a matrix of preferences.
    """
    _check_preferences(preferences)
    return tuple(_mean([p for p in row if p is not None]) for row in preferences)


def _mean(known: list[float]) -> float:
    return sum(known) / len(known)


def _pairs(size: int) -> list[tuple[int, int]]:
    return list(combinations(range(size), 2))


def _preference(difference: float, margin: float) -> float:
    if abs(difference) <= margin:
        return _TIE
    return 1.0 if difference > 0 else 0.0


def _check_preferences(preferences: Sequence[Sequence[float | None]]) -> None:
    size = len(preferences)
    if size == 0 or any(len(row) != size for row in preferences):
        raise DataError(
            f"Got preferences with {size} rows of lengths {[len(row) for row in preferences]};"
            " expected a square matrix with one row and one column a branch."
        )
    for k in range(size):
        for j in range(k + 1):
            forth, back = preferences[k][j], preferences[j][k]
            if not _is_preference(forth, back) or (k == j and forth is None):
                raise DataError(
                    f"Branch {k} beats {j} with probability {forth} and {j} beats {k} with {back};"
                    " expected probabilities that sum to 1 (1/2 on the diagonal)."
                )


def _is_preference(forth: float | None, back: float | None) -> bool:
    if forth is None or back is None:
        return forth is back
    # Written so that NaN fails.
    return 0 <= forth <= 1 and abs(forth + back - 1) <= _TOLERANCE
