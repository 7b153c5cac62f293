"""The family division: share three kinds of items, as in Deal or No Deal (arXiv 1706.05125)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from random import Random

from envs.referee import deals_reaching_aims
from envs.scenarios.difficulty import Difficulty
from envs.scenarios.families.item_split import SplitTask, brief, item_words, key, with_nash_aims
from envs.scenarios.family import FAMILIES, Family
from envs.scenarios.story import Story

__all__ = ["ITEMS", "WORDS", "draw_task", "key", "tell"]

ITEMS = ("book", "hat", "ball")
_MOST_OF_A_KIND = 4
_HIGHEST_VALUE = 10  # of one item
WORDS = ("division", *item_words(ITEMS, most=_MOST_OF_A_KIND, highest=_HIGHEST_VALUE))
_SCENES = (
    "{a} and {b} are moving out of a flat that they shared and divide what is left: {pool}.",
    "{a} and {b} found a box at a flea market and want to share what is in it: {pool}.",
    "At the end of the school fair {a} and {b} may take home what nobody bought: {pool}.",
    "{a} and {b} inherited a few things from a neighbour and sit down to divide them: {pool}.",
)


@dataclass(frozen=True, slots=True)
class _Setting:
    """The generator's parameters at one difficulty.

    Attributes:
        items: the fewest and most items.
        total: the points of the whole pool for either seat.
        share: the part of the Nash bargaining solution that the aims ask for.
        reaching: the most splits that may reach both aims.
    """

    items: tuple[int, int]
    total: int
    share: float
    reaching: int


_SETTINGS: Mapping[Difficulty, _Setting] = {
    Difficulty.EASY: _Setting((5, 7), 10, 0.7, 1000),
    Difficulty.MEDIUM: _Setting((5, 7), 10, 1.0, 1000),
    Difficulty.HARD: _Setting((8, 10), 20, 1.0, 1),
}


def draw_task(rng: Random, difficulty: Difficulty = Difficulty.MEDIUM) -> SplitTask:
    """Draw a pool and different values for the seats, for whom the whole pool is worth the same."""
    setting = _SETTINGS[difficulty]
    fewest, most = setting.items
    while True:
        pool = tuple(rng.randint(1, _MOST_OF_A_KIND) for _ in ITEMS)
        if not fewest <= sum(pool) <= most:
            continue
        options = _valuations(pool, setting.total)
        if not options:
            continue
        first, second = rng.choice(options), rng.choice(options)
        if first == second:
            continue
        task = with_nash_aims(ITEMS, pool, (first, second), setting.share)
        if min(task.aims) >= 1 and deals_reaching_aims(task) <= setting.reaching:
            return task


@cache
def _valuations(pool: tuple[int, ...], total: int) -> list[tuple[int, ...]]:
    """All whole values per item for which the whole pool is worth `total` points, in order."""
    values = product(range(_HIGHEST_VALUE + 1), repeat=len(pool))
    return [v for v in values if sum(n * each for n, each in zip(pool, v, strict=True)) == total]


def tell(task: SplitTask, rng: Random) -> Story:
    """Write the scene and both private sides, in prose and in the line language."""
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


FAMILIES.add(Family(name="division", make=draw_task, key=key, tell=tell, words=WORDS))
