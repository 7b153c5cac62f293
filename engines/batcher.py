"""Where live episodes wait for text: an engine runs when nobody could add to its batch.

Batches then depend on the episodes alone and never on timing, so that a run is reproducible bit for
bit on a CPU.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Batcher:
    """Knows who lives and who waits; flushes the engines when all that live wait."""

    def __init__(self) -> None:
        self._live: set[asyncio.Task[Any]] = set()
        self._waiting: set[asyncio.Future[Any]] = set()
        self._flushes: list[Callable[[], None]] = []
        self._forgets: list[Callable[[], None]] = []

    def register(
        self, flush: Callable[[], None], forget: Callable[[], None] = lambda: None
    ) -> None:
        """Have `flush` called whenever every live episode waits.

        Args:
            forget: called before the first episode of a wave lives, so that a wave is computed
                the same way whatever was played before it.
        """
        self._flushes.append(flush)
        self._forgets.append(forget)

    async def wait_for(self, future: asyncio.Future[T]) -> T:
        """Wait for a future that one of the registered flushes will resolve."""
        self._waiting.add(future)
        try:
            self._flush_if_all_wait()
            return await future
        finally:
            self._waiting.discard(future)  # a cancelled episode waits no longer

    async def play(self, episodes: Sequence[Awaitable[T]]) -> list[T]:
        """Let episodes live side by side to their ends; results in the order given.

        An episode may itself play others: it does not count as live until they have ended.

        Where an episode fails, the others are cancelled and its own error comes out: the first
        one, not a group, so that whoever expects an `EngineError` sees one.
        """
        if not self._live:
            for forget in self._forgets:
                forget()
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
    def aside(self) -> Iterator[None]:
        """Inside, this episode holds up nobody: it waits for something that is not an engine here.

        A judge behind an API takes seconds; the others play on meanwhile.
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
