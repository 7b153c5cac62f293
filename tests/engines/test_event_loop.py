"""Our event loops run on their own and inside a running one, and leave it as it was."""

from __future__ import annotations

import asyncio
import threading

import pytest

from engines.event_loop import EventLoop, run_to_end, running_loop


async def where() -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    await asyncio.sleep(0)
    return asyncio.get_running_loop(), threading.current_thread()


def test_a_loop_runs_inside_a_running_one_in_the_same_thread() -> None:
    async def cell() -> None:
        outer, task = asyncio.get_running_loop(), asyncio.current_task()
        coroutine = where()
        with pytest.raises(RuntimeError, match="running event loop"):  # what asyncio says of it
            asyncio.run(coroutine)
        coroutine.close()
        loop = EventLoop()
        first, thread = loop.run(where())
        second, _ = loop.run(where())
        loop.close()
        assert first is second is not outer
        assert thread is threading.current_thread()
        assert asyncio.get_running_loop() is outer
        assert asyncio.current_task() is task
        await asyncio.sleep(0)  # the outer loop goes on

    asyncio.run(cell())


def test_an_error_comes_out_and_the_outer_loop_is_put_back() -> None:
    async def fails() -> None:
        raise ValueError("of the work")

    async def cell() -> None:
        outer = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="of the work"):
            run_to_end(fails())
        assert asyncio.get_running_loop() is outer

    asyncio.run(cell())
    assert running_loop() is None


def test_the_threads_own_loop_stays_its_own() -> None:
    mine = asyncio.new_event_loop()
    asyncio.set_event_loop(mine)
    try:
        run_to_end(where())
        assert asyncio.get_event_loop_policy().get_event_loop() is mine
    finally:
        asyncio.set_event_loop(None)
        mine.close()


def test_what_is_under_way_is_cancelled_when_the_loop_is_closed() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("forever")

    async def begin() -> asyncio.Task[None]:
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        return task

    async def cell() -> None:
        loop = EventLoop()
        task = loop.run(begin())
        loop.close()
        assert task.cancelled()

    asyncio.run(cell())
    assert ended == ["forever"]
