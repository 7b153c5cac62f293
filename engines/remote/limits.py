"""Limits the remote calls of a process: concurrency, requests and tokens a minute, pauses.

aiolimiter would not do: it serves small amounts before large ones, so that long prompts starve
behind short ones, refuses amounts above its capacity, and is bound to one event loop.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from engines.chat import ChatRequest
from envs.errors import ConfigError

MINUTE_S = 60.0


def estimated_tokens(request: ChatRequest) -> int:
    """About how many tokens a call takes from a rate limit: the prompt and the longest reply.

    At three bytes a token this is a little too high for English and about right for Chinese. The
    ledger's upper bound would use a quarter of the limit only; if this estimate is too low, the
    server answers 429.
    """
    prompt_bytes = sum(len(m.content.encode("utf-8", "replace")) for m in request.messages)
    return prompt_bytes // 3 + 8 * len(request.messages) + request.max_tokens


class Rate:
    """A rate limit per minute, first come first served.

    Each caller is given its waiting time at once, so nobody overtakes and there is no queue. Within
    any minute no more passes than the rate, a burst of one second's worth, and one caller's amount.

    Args:
        per_minute: how much passes in a minute.
        burst_s: how much may pass at once after a quiet time, in seconds' worth of the rate.
    """

    def __init__(self, per_minute: float, *, burst_s: float = 1.0) -> None:
        self._seconds_each = MINUTE_S / per_minute
        self._burst_s = burst_s
        self._paid_until_s = 0.0  # when the rate will have caught up with what has passed

    def book(self, amount: float, now_s: float) -> float:
        """Book an amount; returns how many seconds to wait before using it."""
        starts_s = max(now_s, self._paid_until_s - self._burst_s)
        self._paid_until_s = max(now_s, self._paid_until_s) + amount * self._seconds_each
        return starts_s - now_s


class Limiter:
    """The limiter of all remote calls of a process; give the same one to every client.

    Args:
        max_concurrent: calls that may be under way at once.
        requests_per_minute: None for no limit.
        tokens_per_minute: prompt tokens and the most that may be answered together, as most
            providers count; None for no limit.
        clock, sleep, rng: sources of time and jitter; for tests.
    """

    def __init__(
        self,
        *,
        max_concurrent: int = 64,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        if max_concurrent < 1:
            raise ConfigError(f"max_concurrent is {max_concurrent}; expected 1 or more.")
        for name, rate in (
            ("requests_per_minute", requests_per_minute),
            ("tokens_per_minute", tokens_per_minute),
        ):
            if rate is not None and rate <= 0:
                raise ConfigError(f"{name} is {rate}; expected more than 0, or null for no limit.")
        self._max_concurrent = max_concurrent
        self._requests = Rate(requests_per_minute) if requests_per_minute else None
        self._tokens = Rate(tokens_per_minute) if tokens_per_minute else None
        self._clock, self._sleep = clock, sleep
        self._rng = rng or random.Random()
        self._paused_until_s: dict[str, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = asyncio.Semaphore(max_concurrent)

    @asynccontextmanager
    async def slot(self, host: str, request: ChatRequest) -> AsyncIterator[None]:
        """Wait until one more call may be made, and hold its slot until the block ends.

        Args:
            host: whose pauses apply to this call.
        """
        await self._pause_over(host)  # outside, so that callers of a paused server hold no slots
        async with self._semaphore():
            now_s = self._clock()
            wait_s = self._requests.book(1, now_s) if self._requests else 0.0
            if self._tokens:
                wait_s = max(wait_s, self._tokens.book(estimated_tokens(request), now_s))
            if wait_s > 0:
                await self._sleep(wait_s)
            await self._pause_over(host)
            yield

    def pause(self, host: str, seconds: float) -> None:
        """Delay all calls to a server that asked callers to wait."""
        until_s = self._clock() + seconds
        self._paused_until_s[host] = max(until_s, self._paused_until_s.get(host, 0.0))

    async def _pause_over(self, host: str) -> None:
        """Wait until the pause is over, and a little longer, so that not all come back at once."""
        while (until_s := self._paused_until_s.get(host)) is not None:
            left_s = until_s - self._clock()
            if left_s <= 0:
                return
            await self._sleep(left_s * self._rng.uniform(1.0, 1.25))

    def _semaphore(self) -> asyncio.Semaphore:
        """The semaphore of the running event loop: asyncio binds each to one loop."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._slots = loop, asyncio.Semaphore(self._max_concurrent)
        return self._slots
