"""Division: three kinds of items and private values, as in Deal or No Deal (arXiv 1706.05125)."""

from __future__ import annotations

from random import Random

from envs.scenarios.split import SplitTask, aimed, brief, key
from envs.scenarios.story import Story

__all__ = ["ITEMS", "draw_task", "key", "tell"]

ITEMS = ("book", "hat", "ball")
_TOTAL = 10
_SCENES = (
    "{a} and {b} are moving out of a flat that they shared and divide what is left: {pool}.",
    "{a} and {b} found a box at a flea market and want to share what is in it: {pool}.",
    "At the end of the school fair {a} and {b} may take home what nobody bought: {pool}.",
    "{a} and {b} inherited a few things from a neighbour and sit down to divide them: {pool}.",
)


def draw_task(rng: Random) -> SplitTask:
    """A pool of 5-7 items; to each seat the whole pool is worth 10, and tastes differ."""
    while True:
        pool = tuple(rng.randint(1, 4) for _ in ITEMS)
        if not 5 <= sum(pool) <= 7:
            continue
        options = _valuations(pool)
        first, second = rng.choice(options), rng.choice(options)
        if first == second:
            continue
        task = aimed(ITEMS, pool, (first, second))
        if min(task.aims) >= 1:
            return task


def _valuations(pool: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All whole values per item under which the whole pool is worth 10 points."""
    a, b, c = pool
    return [
        (x, y, (_TOTAL - a * x - b * y) // c)
        for x in range(_TOTAL // a + 1)
        for y in range((_TOTAL - a * x) // b + 1)
        if (_TOTAL - a * x - b * y) % c == 0
    ]


def tell(task: SplitTask, rng: Random) -> Story:
    """The scene and both private sides in prose and in the line language."""
    pool = ", ".join(
        f"{n} {item}{'s' if n > 1 else ''}" for n, item in zip(task.pool, ITEMS, strict=True)
    )
    acts = (
        " To propose a split, act `offer you book=<n> hat=<n> ball=<n>`: what the other gets; you"
        " keep the rest. Act `accept` to close the deal on the other's offer, `reject` to turn it"
        " down. Without a deal nobody gets anything."
    )
    return Story(
        context=rng.choice(_SCENES).replace("{pool}", pool) + acts,
        goals=(_goal(task, 0), _goal(task, 1)),
        briefs=(brief("division", task, 0), brief("division", task, 1)),
    )


def _goal(task: SplitTask, seat: int) -> str:
    worth = ", ".join(
        f"a {item} is worth {v}" for item, v in zip(task.items, task.values[seat], strict=True)
    )
    return (
        f"Get at least {task.aims[seat]:.0f} points from the split. To you {worth} points."
        " More than that earns nothing."
    )
