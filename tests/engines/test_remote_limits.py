"""Rates hold over every minute, first come is first served, and a pause holds for everybody."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.chat import ChatRequest, Message
from engines.remote.limits import Limiter, Rate, estimated_tokens
from envs.errors import ConfigError


class FakeTime:
    """A clock that jumps to whoever wakes next once all others have run."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = itertools.count()

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now_s + seconds, next(self._number), future))
        await future

    async def run(self) -> None:
        """Let time pass until nobody sleeps."""
        await self._settle()
        while self._sleepers:
            self.now_s, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
            await self._settle()

    async def _settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


def call_of(tokens: int) -> ChatRequest:
    return ChatRequest((), None, max_tokens=tokens)


def starts(limiter: Limiter, time: FakeTime, calls: list[tuple[str, int]]) -> list[float]:
    """When each of the calls, made at once, gets its slot; in seconds from now."""

    async def main() -> list[float]:
        started_s = [-1.0] * len(calls)

        async def call(number: int, host: str, tokens: int) -> None:
            async with limiter.slot(host, call_of(tokens)):
                started_s[number] = time.now_s - 100.0

        tasks = [asyncio.create_task(call(n, *made)) for n, made in enumerate(calls)]
        await time.run()
        await asyncio.gather(*tasks)
        return started_s

    return asyncio.run(main())


amounts_and_gaps = st.lists(
    st.tuples(st.floats(0.1, 50.0), st.floats(0.0, 5.0)), min_size=1, max_size=60
)


@given(calls=amounts_and_gaps, per_minute=st.floats(10.0, 6000.0))
def test_no_minute_sees_more_than_the_rate(
    calls: list[tuple[float, float]], per_minute: float
) -> None:
    rate, now_s, passed = Rate(per_minute), 0.0, []
    for amount, gap_s in calls:
        now_s += gap_s
        passed.append((now_s + rate.book(amount, now_s), amount))
    assert [at_s for at_s, _ in passed] == sorted(at_s for at_s, _ in passed)  # nobody overtakes
    most = per_minute * 61 / 60 + max(amount for amount, _ in calls)
    for first_s, _ in passed:
        minute = sum(amount for at_s, amount in passed if first_s <= at_s < first_s + 60.0)
        assert minute <= most * (1 + 1e-9)


def test_requests_a_minute_by_hand() -> None:
    # 60 a minute: one at once, one for the burst of a second, then one each second.
    time = FakeTime()
    limiter = Limiter(requests_per_minute=60, clock=time, sleep=time.sleep)
    assert starts(limiter, time, [("a", 0)] * 5) == pytest.approx([0, 0, 1, 2, 3])


def test_tokens_a_minute_and_a_call_larger_than_the_burst() -> None:
    # 600 tokens a minute, 10 a second: 300 tokens are paid for after 30 s, 29 with the burst.
    time = FakeTime()
    limiter = Limiter(tokens_per_minute=600, clock=time, sleep=time.sleep)
    assert starts(limiter, time, [("a", 300), ("a", 10), ("a", 10)]) == pytest.approx([0, 29, 30])


def test_likely_tokens() -> None:
    messages = (Message("system", "x" * 300), Message("user", "\u4e2d" * 100))
    assert estimated_tokens(ChatRequest(messages, None, max_tokens=50)) == 100 + 100 + 2 * 8 + 50


def test_no_more_than_so_many_at_once() -> None:
    async def main() -> int:
        limiter, now, most = Limiter(max_concurrent=3), 0, 0

        async def call() -> None:
            nonlocal now, most
            async with limiter.slot("a", call_of(1)):
                now += 1
                most = max(most, now)
                await asyncio.sleep(0.001)
                now -= 1

        await asyncio.gather(*(call() for _ in range(20)))
        return most

    assert asyncio.run(main()) == 3


def test_a_pause_holds_all_callers_of_that_server_and_lets_them_back_apart() -> None:
    time = FakeTime()
    limiter = Limiter(
        max_concurrent=4, clock=time, sleep=time.sleep, rng=random.Random(0)
    )  # four slots, so that waiting inside of one would hold up the other server
    limiter.pause("a", 10.0)
    limiter.pause("a", 5.0)  # a shorter one doesn't end the longer
    started_s = starts(limiter, time, [("a", 1)] * 8 + [("b", 1)])
    assert started_s[-1] == 0.0
    assert min(started_s[:8]) >= 10.0
    assert max(started_s[:8]) <= 12.5
    assert len(set(started_s[:8])) == 8


def test_a_pause_also_holds_who_waits_for_the_rate_already() -> None:
    time = FakeTime()
    limiter = Limiter(requests_per_minute=60, clock=time, sleep=time.sleep)

    async def main() -> float:
        async def call() -> float:
            async with limiter.slot("a", call_of(1)):
                return time.now_s - 100.0

        tasks = [asyncio.create_task(call()) for _ in range(3)]
        await asyncio.sleep(0)
        limiter.pause("a", 30.0)
        await time.run()
        return (await asyncio.gather(*tasks))[2]  # its turn was at 1 s

    assert asyncio.run(main()) >= 30.0


def test_who_is_cancelled_or_fails_gives_the_slot_back() -> None:
    async def main() -> None:
        limiter = Limiter(max_concurrent=1)

        async def call() -> None:
            async with limiter.slot("a", call_of(1)):
                await asyncio.sleep(60)

        inside, waiting = asyncio.create_task(call()), asyncio.create_task(call())
        await asyncio.sleep(0)
        waiting.cancel()
        inside.cancel()
        await asyncio.gather(inside, waiting, return_exceptions=True)
        async with asyncio.timeout(10), limiter.slot("a", call_of(1)):
            pass

    asyncio.run(main())


def test_one_limiter_serves_one_event_loop_after_another() -> None:
    limiter = Limiter(max_concurrent=1)

    async def main() -> None:
        async def call() -> None:
            async with limiter.slot("a", call_of(1)):
                await asyncio.sleep(0)

        await asyncio.gather(call(), call(), call())  # some must wait, which binds a semaphore

    asyncio.run(main())
    asyncio.run(main())


def test_options_out_of_range() -> None:
    with pytest.raises(ConfigError, match="max_concurrent is 0"):
        Limiter(max_concurrent=0)
    with pytest.raises(ConfigError, match="tokens_per_minute is -1"):
        Limiter(tokens_per_minute=-1)
