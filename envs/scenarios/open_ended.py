"""The open scenarios, whose goals only a judge can score.

Scenes and goals are in `data/open.jsonl`, in SOTOPIA's schema; the characters are drawn. A scene's
position in the file decides its split, so that no two splits share one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from random import Random
from typing import Final

from envs.errors import DataError
from envs.scenarios.characters import CAST, DATA
from envs.scenarios.markup import seen_by, seen_by_all
from envs.scenarios.records import EnvironmentRecord, check_unique, read_jsonl
from envs.types import Relationship, Scenario

OPEN: Final = "open"
"""The family of these scenarios."""

_PLACES: Final[Mapping[str, tuple[int, ...]]] = {"train": (0, 1, 2), "dev": (3,), "test": (4,)}
"""Which of each five consecutive scenes belong to which split."""


@cache
def open_scenes(split: str) -> tuple[EnvironmentRecord, ...]:
    """The scenes of a split, in the order of the file.

    Raises:
        DataError: no such split.
    """
    if split not in _PLACES:
        raise DataError(f"There is no split {split!r}; splits are {', '.join(_PLACES)}.")
    path = DATA / "open.jsonl"
    records = read_jsonl(path, EnvironmentRecord)
    check_unique([record.env_id for record in records], path)
    return tuple(r for n, r in enumerate(records) if n % 5 in _PLACES[split])


@lru_cache(maxsize=65536)
def draw_open(split: str, index: int) -> Scenario:
    """Scenario number `index` of a split: scenes take turns, each time with other characters.

    Raises:
        DataError: no such split.
    """
    scenes = open_scenes(split)
    scene = scenes[index % len(scenes)]
    scenario_id = f"{OPEN}/{split}/{index}"
    return Scenario(
        id=scenario_id,
        family=OPEN,
        split=split,
        context=seen_by_all(scene.scenario),
        goals=tuple(seen_by(goal, seat) for seat, goal in enumerate(scene.agent_goals)),
        briefs=("",) * len(scene.agent_goals),
        profiles=tuple(Random(scenario_id).sample(CAST, len(scene.agent_goals))),
        relationship=Relationship(scene.relationship),
    )
