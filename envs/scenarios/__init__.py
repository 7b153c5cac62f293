"""Draws scenarios: those of families that a program can check, and the open ones.

A scenario is determined by its id, such as "division/train/17" or "division-hard/train/17". Its
split is decided by a hash of its context. No two splits therefore share a context, however many
scenarios are drawn and whatever their difficulty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from random import Random

from envs.errors import DataError
from envs.scenarios.characters import CAST
from envs.scenarios.difficulty import Difficulty
from envs.scenarios.family import FAMILIES, Family
from envs.scenarios.open_ended import OPEN, draw_open
from envs.scenarios.task import Task
from envs.types import Relationship, Scenario

__all__ = ["FAMILIES", "SPLITS", "Family", "draw", "draw_mixture", "scenario_of", "split_of"]

SPLITS: Mapping[str, range] = {"train": range(80), "dev": range(80, 90), "test": range(90, 100)}
"""Which of a hundred hash buckets belong to which split."""


def split_of(family: str, task: Task) -> str:
    """The split that a task's context belongs to."""
    digest = sha256(repr((family, FAMILIES[family].key(task))).encode()).digest()
    bucket = int.from_bytes(digest[:8], "big") % 100
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


@lru_cache(maxsize=65536)
def draw(
    family: str, split: str, index: int, difficulty: Difficulty = Difficulty.MEDIUM
) -> Scenario:
    """Scenario number `index` of a family and split; the same arguments give an equal scenario.

    Raises:
        DataError: no such family or split, or a family without difficulties has to have one.
    """
    if family == OPEN:
        if difficulty != Difficulty.MEDIUM:
            raise DataError(
                f"The family {OPEN} has no difficulties, but {difficulty} was asked for; leave it "
                f"out, or choose of {', '.join(FAMILIES)}."
            )
        return draw_open(split, index)
    if family not in FAMILIES or split not in SPLITS:
        raise DataError(
            f"There is no scenario family {family!r} with split {split!r}; families are "
            f"{', '.join(FAMILIES)} and {OPEN}, splits are {', '.join(SPLITS)}."
        )
    level = "" if difficulty == Difficulty.MEDIUM else f"-{difficulty}"
    scenario_id = f"{family}{level}/{split}/{index}"
    rng = Random(scenario_id)
    rules = FAMILIES[family]
    task = rules.make(rng, difficulty)
    while split_of(family, task) != split:
        task = rules.make(rng, difficulty)
    first, second = rng.sample(CAST, 2)
    story = rules.tell(task, rng)
    return Scenario(
        id=scenario_id,
        family=family,
        split=split,
        context=story.context.replace("{a}", first.first_name).replace("{b}", second.first_name),
        goals=story.goals,
        briefs=story.briefs,
        profiles=(first, second),
        relationship=rng.choice(tuple(Relationship)),
        task=task,
    )


def scenario_of(scenario_id: str) -> Scenario:
    """The scenario with that id, of a family or the open ones.

    Raises:
        DataError: the id does not name a family, a split and a number.
    """
    parts = scenario_id.split("/")
    if len(parts) != 3 or not parts[2].isdecimal():
        raise DataError(
            f"The scenario id {scenario_id!r} is not of the form 'family/split/number'; scenarios "
            "from files are found again by loading the files (see load_sotopia)."
        )
    family, _, level = parts[0].partition("-")
    if level not in ("", Difficulty.EASY, Difficulty.HARD):
        raise DataError(
            f"The scenario id {scenario_id!r} has the difficulty {level!r}; expected "
            f"{Difficulty.EASY} or {Difficulty.HARD}, or none for {Difficulty.MEDIUM}."
        )
    return draw(family, parts[1], int(parts[2]), Difficulty(level or Difficulty.MEDIUM))


def draw_mixture(
    weights: Mapping[str, float],
    split: str,
    count: int,
    *,
    start: int = 0,
    difficulty: Difficulty = Difficulty.MEDIUM,
    others: Mapping[str, Callable[[str, int], Scenario]] | None = None,
) -> list[Scenario]:
    """`count` scenarios of a split, families taking turns in proportion to their weights.

    Deterministic: the n-th scenario is the same whatever `count` is. `start` skips the first ones.

    Args:
        others: how scenarios of a split and number are drawn for families that are not ours, such
            as scenes of a file.
    """
    total = sum(weights.values())
    taken = dict.fromkeys(weights, 0)
    chosen: list[Scenario] = []
    for n in range(start + count):
        family = max(weights, key=lambda name: weights[name] / total * (n + 1) - taken[name])
        if n >= start:
            own = (others or {}).get(family)
            number = taken[family]
            chosen.append(own(split, number) if own else draw(family, split, number, difficulty))
        taken[family] += 1
    return chosen
