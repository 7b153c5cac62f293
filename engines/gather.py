"""Several calls at once, of which the first failure ends all and comes out as itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all; results in the order given.

    Unlike `asyncio.gather` it leaves nothing running behind a failure, which would go on, and spend
    money, in a loop that outlives it; unlike a bare `TaskGroup` it raises the error, not a group.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
