"""The open scenarios, whose goals only a judge can score: our own, and those of your files.

Our scenes and goals are in `data/open.jsonl`, in SOTOPIA's schema; the characters are drawn. A
scene's position in that file decides its split. In your files a hash of the scene's words does, so
that scenes may be added without moving the others. No two splits share a scene.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Final

from envs.errors import DataError
from envs.scenarios.characters import CAST, DATA
from envs.scenarios.likeness import scene_text
from envs.scenarios.markup import seen_by, seen_by_all
from envs.scenarios.records import EnvironmentRecord, check_unique, place, read_jsonl
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
    _check_split(split)
    records = read_scenes(DATA / "open.jsonl")
    return tuple(r for n, r in enumerate(records) if n % 5 in _PLACES[split])


@cache
def read_scenes(path: Path) -> tuple[EnvironmentRecord, ...]:
    """The scenes of a file of environment profiles, one JSON object a line, of two seats each.

    Raises:
        DataError: a line is no such scene, or an id is used twice; names file and line.
    """
    records = read_jsonl(path, EnvironmentRecord)
    check_unique([record.env_id for record in records], path)
    for number, record in enumerate(records, start=1):
        if len(record.agent_goals) != 2:
            raise DataError(
                f"{place(path, number)}, field 'agent_goals': got {len(record.agent_goals)} goals, "
                "expected 2; leave such scenes out of the file."
            )
    return tuple(records)


def scene_split(record: EnvironmentRecord) -> str:
    """The split of a scene of your files, by a hash of its words: 8 of 10 are for training."""
    digest = sha256(f"parley-scenes/1\n{scene_text(record)}".encode()).digest()
    bucket = int.from_bytes(digest[:8], "big") % 10
    return "train" if bucket < 8 else ("dev", "test")[bucket - 8]


@cache
def scenes_of(path: Path, split: str) -> tuple[EnvironmentRecord, ...]:
    """The scenes of a split of a file.

    Raises:
        DataError: no such split, the file cannot be read, or it has no scene of that split.
    """
    _check_split(split)
    records = read_scenes(path)
    found = tuple(record for record in records if scene_split(record) == split)
    if not found:
        raise DataError(
            f"None of the {len(records)} scenes of {path} belongs to the split {split}, which a "
            "hash of their words decides; add scenes, or measure on another split "
            "(evaluation.split=dev or test)."
        )
    return found


def _check_split(split: str) -> None:
    if split not in _PLACES:
        raise DataError(f"There is no split {split!r}; splits are {', '.join(_PLACES)}.")


def draw_scene(family: str, path: Path, split: str, index: int) -> Scenario:
    """Scenario number `index` of a split of a file, as `draw_open` draws them.

    Raises:
        DataError: see `scenes_of`.
    """
    return _cast(scenes_of(path, split), family, split, index)


@lru_cache(maxsize=65536)
def draw_open(split: str, index: int) -> Scenario:
    """Scenario number `index` of a split: scenes take turns, each time with other characters.

    Raises:
        DataError: no such split.
    """
    return _cast(open_scenes(split), OPEN, split, index)


def _cast(scenes: tuple[EnvironmentRecord, ...], family: str, split: str, index: int) -> Scenario:
    scene = scenes[index % len(scenes)]
    scenario_id = f"{family}/{split}/{index}"
    return Scenario(
        id=scenario_id,
        family=family,
        split=split,
        context=seen_by_all(scene.scenario),
        goals=tuple(seen_by(goal, seat) for seat, goal in enumerate(scene.agent_goals)),
        briefs=("",) * len(scene.agent_goals),
        profiles=tuple(Random(scenario_id).sample(CAST, len(scene.agent_goals))),
        relationship=Relationship(scene.relationship),
    )
