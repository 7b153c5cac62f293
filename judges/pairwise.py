"""Who beats whom among the branches of one group, and each branch's mean probability to win."""

from __future__ import annotations

import math
from collections.abc import Sequence

from envs.errors import ConfigError, DataError

_TIE = 0.5
_TOLERANCE = 1e-6


def preference_matrix(
    values: Sequence[float], margin: float = 0.0, *, temperature: float = 0.0
) -> tuple[tuple[float, ...], ...]:
    """The probability that each branch beats each other, from one number a branch.

    Such a matrix is transitive by construction; a pairwise judge's need not be.

    Args:
        values: one score a branch, shape (K,); more is better.
        margin: branches at most this far apart tie at 1/2, so that noise is no preference.
        temperature: outside the margin, 0 lets the better branch win for certain; above 0 it wins
            with probability sigmoid(difference / temperature) (Bradley and Terry, 1952).

    Returns:
        P of shape (K, K): P[k][j] is the probability that k beats j; 1/2 on the diagonal.

    Raises:
        ConfigError: margin or temperature is negative or not finite.
        DataError: a value is not finite.
    """
    for name, option in (("margin", margin), ("temperature", temperature)):
        if not (math.isfinite(option) and option >= 0):
            raise ConfigError(f"{name} is {option}, but must be finite and at least 0.")
    for index, value in enumerate(values):
        if not math.isfinite(value):
            raise DataError(
                f"The value of branch {index} is {value}, which cannot be compared;"
                " leave unscored branches out of the group."
            )
    return tuple(
        tuple(_preference(own - other, margin, temperature) for other in values) for own in values
    )


def win_probs(preferences: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Each branch's mean probability to beat the branches of its group, itself counted as 1/2.

    This is the sampled estimate of the win rate against the policy (SPPO, arXiv 2405.00675,
    section 4.2): mean over j of P[k][j]. Cycles (a beats b beats c beats a) are allowed.

    Args:
        preferences: P of shape (K, K), K >= 1, with P[k][j] + P[j][k] = 1.

    Returns:
        K numbers whose mean is 1/2, each between 1/(2K) and 1 - 1/(2K).

    Raises:
        DataError: P is empty, not square, or not a matrix of preferences.
    """
    _check_preferences(preferences)
    return tuple(sum(row) / len(row) for row in preferences)


def _preference(difference: float, margin: float, temperature: float) -> float:
    if abs(difference) <= margin:
        return _TIE
    if temperature == 0:
        return 1.0 if difference > 0 else 0.0
    return _TIE * (1 + math.tanh(difference / temperature / 2))  # sigmoid that cannot overflow


def _check_preferences(preferences: Sequence[Sequence[float]]) -> None:
    size = len(preferences)
    if size == 0 or any(len(row) != size for row in preferences):
        raise DataError(
            f"Got preferences with {size} rows of lengths {[len(row) for row in preferences]};"
            " expected a square matrix with one row and one column a branch."
        )
    for k in range(size):
        for j in range(k + 1):
            forth, back = preferences[k][j], preferences[j][k]
            # Written so that NaN fails too.
            if not (0 <= forth <= 1 and abs(forth + back - 1) <= _TOLERANCE):
                raise DataError(
                    f"Branch {k} beats {j} with probability {forth} and {j} beats {k} with {back};"
                    " expected probabilities that sum to 1 (1/2 on the diagonal)."
                )
