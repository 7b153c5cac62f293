"""How alike two scenes are, by their words; and which are SOTOPIA's 90, recognised by hashes alone.

`data/benchmark.json` holds, for each of the 90, hashes of runs of three words: enough to recognise
it, and none of its text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from typing import Final

from envs.scenarios.characters import DATA
from envs.scenarios.markup import seen_by, seen_by_all
from envs.scenarios.records import EnvironmentRecord, read_text

SHINGLE: Final = 3
"""Words of a run."""

SKETCH: Final = 32
"""Hashes that are kept of a text: its smallest ones, which are a fair sample of all (MinHash)."""

ALIKE: Final = 0.35
"""The likeness from which one scene is a near-duplicate of another."""

_WORD: Final = re.compile(r"[^\W_]+")

Sketch = frozenset[int]


def scene_text(record: EnvironmentRecord) -> str:
    """What the seats read of a scene: the scene, then the goals, without hints and markup."""
    goals = (seen_by(goal, seat) for seat, goal in enumerate(record.agent_goals))
    return "\n".join((seen_by_all(record.scenario), *goals))


def sketch(text: str) -> Sketch:
    """The smallest hashes of a text's runs of words; case and punctuation do not count."""
    words = _WORD.findall(text.lower())
    runs = {" ".join(words[n : n + SHINGLE]) for n in range(max(1, len(words) - SHINGLE + 1))}
    return frozenset(sorted(map(_hashed, runs))[:SKETCH])


def likeness(one: Sketch, other: Sketch) -> float:
    """The share of runs of words that two texts have in common, estimated, in [0, 1]."""
    smallest = set(sorted(one | other)[:SKETCH])
    return len(smallest & one & other) / len(smallest)


def most_alike(text: Sketch, others: Iterable[Sketch]) -> float:
    """The likeness to the most alike of some texts; 0 if there are none."""
    return max((likeness(text, other) for other in others), default=0.0)


def sketches(record: EnvironmentRecord) -> tuple[Sketch, Sketch]:
    """Of a scene with its goals, and of the scene alone."""
    return sketch(scene_text(record)), sketch(seen_by_all(record.scenario))


def is_benchmark(record: EnvironmentRecord) -> bool:
    """Whether a scene is one of SOTOPIA's 90, or nearly: by all its words, or by the scene's."""
    return is_benchmark_text(scene_text(record), seen_by_all(record.scenario))


def is_benchmark_text(whole: str, scene: str) -> bool:
    """The same for texts: of a scene with its goals, and of the scene alone."""
    return any(
        likeness(own, theirs) >= ALIKE
        for own, known in zip((sketch(whole), sketch(scene)), _benchmark(), strict=True)
        for theirs in known
    )


@cache
def _benchmark() -> tuple[tuple[Sketch, ...], tuple[Sketch, ...]]:
    stored = json.loads(read_text(DATA / "benchmark.json"))
    whole, scenes = (
        tuple(frozenset(int(word, 16) for word in line.split()) for line in stored[name])
        for name in ("whole", "scenes")
    )
    return whole, scenes


def _hashed(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big")
