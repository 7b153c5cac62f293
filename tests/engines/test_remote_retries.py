"""Waits grow, are jittered and bounded; Retry-After is read in all its forms."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.remote.retries import Retries, parse_retry_after
from envs.errors import ConfigError

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@given(attempt=st.integers(1, 10_000), seed=st.integers())
def test_a_wait_lies_between_nothing_and_its_bound(attempt: int, seed: int) -> None:
    wait_s = Retries(base_s=0.5, cap_s=4.0).backoff_s(attempt, random.Random(seed))
    assert 0.0 <= wait_s <= min(4.0, 0.5 * 2 ** min(attempt - 1, 9))


def test_the_jitter_is_full_and_the_bound_doubles() -> None:
    rng = random.Random(0)
    retries = Retries(base_s=1.0, cap_s=60.0)
    for attempt, bound_s in ((1, 1.0), (2, 2.0), (4, 8.0)):
        waits_s = [retries.backoff_s(attempt, rng) for _ in range(2000)]
        assert min(waits_s) < 0.02 * bound_s
        assert max(waits_s) > 0.98 * bound_s
        assert sum(waits_s) / 2000 == pytest.approx(bound_s / 2, rel=0.05)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0", 0.0),
        ("0\x1f", 0.0),  # what strip() takes for a space, float() does not
        ("1.5", 1.5),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),  # over already
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sun, 01 Mar 2026 13:00:30 +0100", 30.0),
        ("soon", None),
        ("", None),
        ("-3", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, NOW) == seconds


@given(header=st.text())
def test_any_header_is_read_without_a_crash(header: str) -> None:
    seconds = parse_retry_after(header, NOW)
    assert seconds is None or seconds >= 0.0


def test_options_out_of_range() -> None:
    with pytest.raises(ConfigError, match="max_attempts is 0"):
        Retries(max_attempts=0)
    with pytest.raises(ConfigError, match="base_s is 2"):
        Retries(base_s=2, cap_s=1)
