"""Event loops that are run to an end, also where another one is running, as in a notebook."""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class EventLoop:
    """An event loop of one's own, which keeps connections open from one piece of work to the next.

    It is an `asyncio.Runner` that may be used inside a running event loop. In a notebook every cell
    is run by the kernel's loop, and asyncio refuses to run a second loop there. The kernel's loop
    stands still while ours runs: it is set aside in this thread, and put back afterwards. A thread
    of its own for the work would not do. SQLite's connections, torch's number of threads (on which
    results depend bit for bit) and Ctrl-C all belong to the thread that the work was begun in.
    """

    def __init__(self) -> None:
        # With a factory the runner leaves the thread's own event loop as it is.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return what it returns."""
        with _outer_loop_set_aside():
            return self._runner.run(work)

    def close(self) -> None:
        """Cancel what is still under way, and close the loop."""
        with _outer_loop_set_aside():
            self._runner.close()


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop that is closed afterwards, as `asyncio.run` does."""
    loop = EventLoop()
    try:
        return loop.run(work)
    finally:
        loop.close()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, None where none does."""
    return events._get_running_loop()


@contextmanager
def _outer_loop_set_aside() -> Iterator[None]:
    """In the block no event loop is running in this thread, so that another one may."""
    outer = events._get_running_loop()
    events._set_running_loop(None)
    try:
        yield
    finally:
        events._set_running_loop(outer)
