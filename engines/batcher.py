"""Batches the requests of concurrent episodes: engines run once all live episodes wait.

Batches therefore depend on the episodes alone and never on timing, so that a run is reproducible
bit for bit on a CPU.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Batcher:
    """Keeps track of live and waiting episodes, and flushes the engines when all of them wait."""

    def __init__(self) -> None:
        self._live: set[asyncio.Task[Any]] = set()
        self._waiting: set[asyncio.Future[Any]] = set()
        self._flushes: list[Callable[[], None]] = []
        self._resets: list[Callable[[], None]] = []

    def register(self, flush: Callable[[], None], reset: Callable[[], None] = lambda: None) -> None:
        """Have `flush` called whenever every live episode waits.

        Args:
            reset: called before a wave of episodes starts, so that the wave is computed in the same
                way whatever was played before it.
        """
        self._flushes.append(flush)
        self._resets.append(reset)

    async def wait_for(self, future: asyncio.Future[T]) -> T:
        """Wait for a future that one of the registered flushes will resolve."""
        self._waiting.add(future)
        try:
            self._flush_if_all_wait()
            return await future
        finally:
            self._waiting.discard(future)  # a cancelled episode waits no longer

    async def play(self, episodes: Sequence[Awaitable[T]]) -> list[T]:
        """Run episodes concurrently to their ends; results in the order given.

        An episode may itself play others; it does not count as live until they have ended.

        When an episode fails, the others are cancelled and the first error itself is raised, not an
        exception group.
        """
        if not self._live:
            for reset in self._resets:
                reset()
        outer = {_this_task()} & self._live if episodes else set()
        inner: list[asyncio.Task[T]] = []
        unfinished: set[asyncio.Task[Any]] = set()

        async def live(episode: Awaitable[T]) -> T:
            try:
                return await episode
            finally:
                self._live.discard(_this_task())
                unfinished.discard(_this_task())
                if not unfinished:
                    self._live |= outer
                self._flush_if_all_wait()

        try:
            async with asyncio.TaskGroup() as group:
                inner += [group.create_task(live(episode)) for episode in episodes]
                unfinished.update(inner)
                self._live = (self._live - outer) | unfinished
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in inner]

    @contextmanager
    def detached(self) -> Iterator[None]:
        """Do not count this episode as live in the block, so that the others need not wait for it.

        For waits on something other than the batcher's engines, such as a judge behind an API.
        """
        this = {_this_task()} & self._live
        self._live -= this
        self._flush_if_all_wait()
        try:
            yield
        finally:
            self._live |= this

    def _flush_if_all_wait(self) -> None:
        if self._waiting and len(self._waiting) >= len(self._live):
            self._waiting.clear()
            for flush in self._flushes:
                flush()


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None  # coroutines of an event loop run in tasks
    return task
