"""Runs several coroutines at once; the first failure cancels the others and is raised."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all coroutines at once; results in the order given.

    Unlike `asyncio.gather` it leaves none running after a failure, which would go on spending
    money. Unlike a bare `TaskGroup` it raises the error itself, not an exception group.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
