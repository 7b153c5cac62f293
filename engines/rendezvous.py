"""Where live episodes wait for text: an engine runs when nobody could add to its batch.

Batches then depend on the episodes alone and never on timing, so that a run is reproducible bit for
bit on a CPU.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Rendezvous:
    """Counts live and waiting episodes; flushes the engines when all that live wait."""

    def __init__(self) -> None:
        self._live = 0
        self._waiting = 0
        self._flushes: list[Callable[[], None]] = []

    def register(self, flush: Callable[[], None]) -> None:
        """Have `flush` called whenever every live episode waits."""
        self._flushes.append(flush)

    async def wait_for(self, future: asyncio.Future[T]) -> T:
        """Wait for a future that one of the registered flushes will resolve."""
        self._waiting += 1
        self._flush_if_all_wait()
        return await future

    async def play(self, episodes: Sequence[Awaitable[T]]) -> list[T]:
        """Let episodes live side by side to their ends; results in the order given."""

        async def live(episode: Awaitable[T]) -> T:
            try:
                return await episode
            finally:
                self._live -= 1
                self._flush_if_all_wait()

        self._live += len(episodes)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(live(episode)) for episode in episodes]  # type: ignore[arg-type]
        return [task.result() for task in tasks]

    def _flush_if_all_wait(self) -> None:
        if self._waiting and self._waiting >= self._live:
            self._waiting = 0
            for flush in self._flushes:
                flush()
