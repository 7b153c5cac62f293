"""When a failed call is tried again: exponential back-off with full jitter, and Retry-After."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from envs.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is tried, and how long to wait in between.

    Attributes:
        max_attempts: the first one included.
        base_s: the longest first wait; it doubles with each attempt.
        cap_s: the longest wait between two attempts, whatever a server asks for; after a pause up
            to a quarter is added, so that callers do not come back at once.
        patience_s: a server that is down is tried for that long at least, beyond `max_attempts`.
    """

    max_attempts: int = 6
    base_s: float = 0.5
    cap_s: float = 60.0
    patience_s: float = 0.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ConfigError(f"max_attempts is {self.max_attempts}; expected 1 or more.")
        if not 0 <= self.base_s <= self.cap_s:
            raise ConfigError(
                f"base_s is {self.base_s} and cap_s {self.cap_s}; expected 0 <= base_s <= cap_s."
            )
        if not self.patience_s >= 0:
            raise ConfigError(f"patience_s is {self.patience_s}; expected 0 or more seconds.")

    def gives_up(self, attempt: int, waited_s: float, *, is_down: bool) -> bool:
        """Whether the failed attempt number `attempt` was the last one.

        Args:
            waited_s: since the first attempt.
            is_down: whether the server as a whole is away or not ready.
        """
        return attempt >= self.max_attempts and not (is_down and waited_s < self.patience_s)

    def backoff_s(self, attempt: int, rng: random.Random) -> float:
        """How long to wait after the failed attempt number `attempt`, counted from 1.

        Full jitter: uniform from 0 to the bound, so that callers which failed together do not
        come back together.
        """
        # The exponent is bounded, as 2.0 ** 1024 overflows.
        is_patient = self.patience_s and attempt >= self.max_attempts
        cap_s = min(self.cap_s, PATIENT_CAP_S) if is_patient else self.cap_s
        return rng.uniform(0.0, min(cap_s, self.base_s * 2.0 ** min(attempt - 1, 64)))


PATIENT_CAP_S: Final = 5.0
"""The longest wait where only patience is left, so that a server that is back is soon noticed."""


def parse_retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds to wait by a Retry-After header, in seconds or as an HTTP date (RFC 9110, 10.2.3).

    Returns:
        None without a header or with an invalid one; never less than 0.
    """
    if header is None:
        return None
    try:
        seconds = float(header.strip())  # some servers send fractions
    except ValueError:
        return _seconds_until(header, now or datetime.now(UTC))
    return seconds if 0.0 <= seconds < float("inf") else None


def _seconds_until(http_date: str, now: datetime) -> float | None:
    try:
        then = parsedate_to_datetime(http_date)
    except (ValueError, OverflowError):  # of a date or a zone beyond all calendars
        return None
    if then.tzinfo is None:  # "-0000": UTC without saying where
        then = then.replace(tzinfo=UTC)
    return max(0.0, (then - now).total_seconds())
