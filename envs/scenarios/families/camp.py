"""The family camp: neighbours at a camp site divide supplies.

After CaSiNo (arXiv 2103.15721): there are three kinds of supplies, and each side has a high, a
medium and a low priority. The numbers of supplies and the priorities' points vary, which makes
enough different contexts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from envs.referee import deals_reaching_aims
from envs.scenarios.difficulty import Difficulty
from envs.scenarios.families.item_split import SplitTask, brief, item_words, key, with_nash_aims
from envs.scenarios.family import FAMILIES, Family
from envs.scenarios.story import Story

__all__ = ["ITEMS", "WORDS", "draw_task", "key", "tell"]

ITEMS = ("food", "water", "wood")
WORDS = ("camp", *item_words(ITEMS, most=4, highest=10))
_PRIORITIES = ((5, 4, 3), (5, 3, 1), (6, 3, 2), (4, 2, 1), (6, 5, 1), (4, 3, 0), (5, 2, 0))
_SCENES = (
    "{a} and {b} camp beside each other. The ranger leaves extra supplies for the two: {pool}.",
    "Before a long hike {a} and {b} share the supplies that the club bought: {pool}.",
    "Rain has cut off the camp site. {a} and {b} divide the supplies in the hut: {pool}.",
    "{a} and {b} won a hamper at the camp fire and divide it: {pool}.",
)
_REASONS = {
    "food": ("you are feeding three children", "you forgot a cool box", "you hike all day"),
    "water": ("it will be hot and the well is dry", "your dogs drink a lot", "you take medicine"),
    "wood": (
        "your tent is cold at night",
        "you promised a camp fire",
        "your stove burns wood only",
    ),
}


@dataclass(frozen=True, slots=True)
class _Setting:
    """The generator's parameters at one difficulty.

    Attributes:
        packs: the fewest and most packs of each supply.
        share: the part of the Nash bargaining solution that the aims ask for.
        reaching: the most splits that may reach both aims.
        same_need: whether both need the same supply most.
    """

    packs: tuple[int, int]
    share: float
    reaching: int
    same_need: bool


_SETTINGS: Mapping[Difficulty, _Setting] = {
    Difficulty.EASY: _Setting((2, 4), 0.75, 1000, False),
    Difficulty.MEDIUM: _Setting((2, 4), 1.0, 1000, False),
    Difficulty.HARD: _Setting((3, 4), 1.0, 1, True),
}


def draw_task(rng: Random, difficulty: Difficulty = Difficulty.MEDIUM) -> SplitTask:
    """Draw the number of each supply, and each side's points as a permutation of a drawn triple."""
    setting = _SETTINGS[difficulty]
    while True:
        pool = tuple(rng.randint(*setting.packs) for _ in ITEMS)
        first = tuple(rng.sample(rng.choice(_PRIORITIES), 3))
        second = tuple(rng.sample(rng.choice(_PRIORITIES), 3))
        if first == second or (setting.same_need and _first_need(first) != _first_need(second)):
            continue
        task = with_nash_aims(ITEMS, pool, (first, second), setting.share)
        if deals_reaching_aims(task) <= setting.reaching:
            return task


def _first_need(values: tuple[int, ...]) -> int:
    return values.index(max(values))


def tell(task: SplitTask, rng: Random) -> Story:
    """Write the scene and both private sides, in prose and in the line language."""
    pool = ", ".join(f"{n} packs of {item}" for n, item in zip(task.pool, ITEMS, strict=True))
    acts = (
        " To propose a split, act `offer you food=<n> water=<n> wood=<n>`: what the other gets; you"
        " keep the rest. Act `accept` to close the deal on the other's offer, `reject` to turn it"
        " down. Without a deal the supplies stay where they are."
    )
    return Story(
        context=rng.choice(_SCENES).replace("{pool}", pool) + acts,
        goals=(_goal(task, 0, rng), _goal(task, 1, rng)),
        briefs=(brief("camp", task, 0), brief("camp", task, 1)),
    )


def _goal(task: SplitTask, seat: int, rng: Random) -> str:
    needs = "; ".join(
        f"a pack of {item} is worth {value} points to you"
        + (f", since {rng.choice(_REASONS[item])}" if value == max(task.values[seat]) else "")
        for item, value in zip(task.items, task.values[seat], strict=True)
    )
    return f"Get supplies worth at least {task.aims[seat]:.0f} points: {needs}. More earns nothing."


FAMILIES.add(Family(name="camp", make=draw_task, key=key, tell=tell, words=WORDS))
