"""Engines run when all that live wait, and whatever fails leaves nobody waiting for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from engines.batcher import Batcher
from envs.errors import ConfigError


class Echo:
    """A stand-in engine: answers each request with itself, and notes what came together."""

    def __init__(self, batcher: Batcher) -> None:
        self.batches: list[list[str]] = []
        self._rendezvous = batcher
        self._pending: list[tuple[str, asyncio.Future[str]]] = []
        batcher.register(self._flush)

    async def ask(self, text: str) -> str:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._pending.append((text, future))
        return await self._rendezvous.wait_for(future)

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if pending:
            self.batches.append(sorted(text for text, future in pending if not future.done()))
        for text, future in pending:
            if not future.done():
                future.set_result(text)


async def says(engine: Echo, name: str, turns: int) -> str:
    for turn in range(turns):
        assert await engine.ask(f"{name}{turn}") == f"{name}{turn}"
    return name


def play(batcher: Batcher, *episodes: Coroutine[Any, Any, str]) -> list[str]:
    """Play; fails instead of hanging."""

    async def within_time() -> list[str]:
        async with asyncio.timeout(5):
            return await batcher.play(episodes)

    return asyncio.run(within_time())


@pytest.fixture
def batcher() -> Batcher:
    return Batcher()


@pytest.fixture
def engine(batcher: Batcher) -> Echo:
    return Echo(batcher)


def test_an_engine_runs_when_all_wait(batcher: Batcher, engine: Echo) -> None:
    ended = play(batcher, says(engine, "a", 3), says(engine, "b", 1), says(engine, "c", 2))
    assert ended == ["a", "b", "c"]
    assert engine.batches == [["a0", "b0", "c0"], ["a1", "c1"], ["a2"]]


def test_one_that_is_busy_with_something_else_is_waited_for(batcher: Batcher, engine: Echo) -> None:
    async def slow() -> str:
        await asyncio.sleep(0.02)  # a judge behind a network, say
        return await says(engine, "slow", 1)

    play(batcher, says(engine, "a", 1), slow())
    assert engine.batches == [["a0", "slow0"]]


def test_outside_of_any_play_a_request_is_answered_at_once(engine: Echo) -> None:
    assert asyncio.run(engine.ask("alone")) == "alone"


def test_nobody_to_play(batcher: Batcher, engine: Echo) -> None:
    assert play(batcher) == []
    assert play(batcher, says(engine, "a", 1)) == ["a"]


@pytest.mark.parametrize("failing_turn", [0, 1])
def test_a_failure_ends_the_play_and_hangs_nobody(
    batcher: Batcher, engine: Echo, failing_turn: int
) -> None:
    async def fails() -> str:
        await says(engine, "f", failing_turn)
        raise ConfigError("no such family")

    async def busy() -> str:
        await asyncio.sleep(0 if failing_turn else 60)  # the failure finds it waiting, or not yet
        return "done"

    with pytest.raises(ConfigError, match="no such family"):  # its own error, not a group
        play(batcher, says(engine, "a", 9), fails(), says(engine, "b", 9), busy())
    played_before = len(engine.batches)
    assert play(batcher, says(engine, "x", 1), says(engine, "y", 2)) == ["x", "y"]
    assert engine.batches[played_before:] == [["x0", "y0"], ["y1"]]  # the failed count no more


def test_the_cancelled_do_not_count_as_waiting(batcher: Batcher, engine: Echo) -> None:
    async def fails() -> str:
        raise ConfigError("no such family")

    async def slow() -> str:
        await asyncio.sleep(0.02)
        return await says(engine, "slow", 1)

    async def two_plays() -> list[list[str] | BaseException]:
        return await asyncio.gather(
            batcher.play([says(engine, "a", 1), fails()]),
            batcher.play([says(engine, "b", 1), slow()]),
            return_exceptions=True,
        )

    failed, ended = asyncio.run(two_plays())
    assert isinstance(failed, ConfigError)
    assert ended == ["b", "slow"]
    assert engine.batches == [["b0", "slow0"]]


def test_an_episode_may_play_others(batcher: Batcher, engine: Echo) -> None:
    async def outer() -> str:
        await engine.ask("outer before")
        names = await batcher.play([says(engine, "i", 1), says(engine, "j", 2)])
        await engine.ask("outer after")
        return "+".join(names)

    assert play(batcher, outer(), says(engine, "k", 4)) == ["i+j", "k"]
    # While they live, the outer one does not hold up the batch; then it is back in time.
    assert engine.batches == [
        ["k0", "outer before"],
        ["i0", "j0", "k1"],
        ["j1", "k2"],
        ["k3", "outer after"],
    ]


def test_two_engines_and_episodes_that_wait_for_different_ones(batcher: Batcher) -> None:
    first, second = Echo(batcher), Echo(batcher)

    async def alternates(name: str, one: Echo, other: Echo) -> str:
        for turn in range(3):
            await (other if turn % 2 else one).ask(f"{name}{turn}")
        return name

    ended = play(
        batcher,
        alternates("a", first, second),
        alternates("b", second, first),
        says(first, "c", 1),
    )
    assert ended == ["a", "b", "c"]
    assert first.batches == [["a0", "c0"], ["b1"], ["a2"]]
    assert second.batches == [["b0"], ["a1"], ["b2"]]


def test_batches_do_not_depend_on_timing() -> None:
    def batches(naps: tuple[float, ...]) -> list[list[str]]:
        batcher = Batcher()
        engine = Echo(batcher)

        async def naps_first(name: str, nap_s: float) -> str:
            for turn in range(3):
                await asyncio.sleep(nap_s)
                await engine.ask(f"{name}{turn}")
            return name

        play(batcher, *(naps_first(name, nap) for name, nap in zip("abc", naps, strict=True)))
        return engine.batches

    assert batches((0, 0, 0)) == batches((0.02, 0, 0.01)) == batches((0, 0.02, 0))


def test_who_steps_aside_holds_up_nobody(batcher: Batcher, engine: Echo) -> None:
    free = asyncio.Event()

    async def judged_slowly() -> str:
        await engine.ask("a0")
        with batcher.detached():
            await free.wait()  # set by the other episode only after two more batches
        return await engine.ask("a1")

    async def plays_on() -> str:
        for turn in range(3):
            await engine.ask(f"b{turn}")
        free.set()
        return await engine.ask("b3")

    assert play(batcher, judged_slowly(), plays_on()) == ["a1", "b3"]
    assert engine.batches[:3] == [["a0", "b0"], ["b1"], ["b2"]]


def test_who_plays_others_waits_for_those_that_stepped_aside(
    batcher: Batcher, engine: Echo
) -> None:
    free = asyncio.Event()

    async def judged_slowly() -> str:
        with batcher.detached():
            await free.wait()
        return "judged"

    async def brancher() -> str:
        inner = await batcher.play([judged_slowly(), says(engine, "i", 1)])
        await engine.ask("after")
        return inner[0]

    async def frees() -> str:
        await engine.ask("f0")
        await engine.ask("f1")  # flushed although the brancher waits for its judged episode
        free.set()
        return await engine.ask("f2")

    assert play(batcher, brancher(), frees()) == ["judged", "f2"]
