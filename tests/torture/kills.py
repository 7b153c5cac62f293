"""Runs are killed at random moments, again and again, and resumed until they end.

What a run ends in must be what it would have ended in undisturbed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.torture.processes import Ending, run
from tests.torture.sameness import differences
from tests.torture.server import server, with_quick_retries
from tests.torture.settings import Setting

_LONGEST_SHARE = 0.6
"""The longest that a process lives, as a share of an undisturbed run from a cached clone."""

_LONGEST_SHARE_OF_ALL = 1.2
"""The same of a run that makes its clone: stage 0 takes most of it, and begins anew when killed."""

_WITHOUT_CACHE = 4
"""Each so-manieth life makes its clone itself, so that stage 0 is killed, too."""


@dataclass(frozen=True, slots=True)
class Life:
    """A run from its start to its end, through all its kills."""

    setting: str
    kills: int
    differences: tuple[str, ...]


def torment(setting: Setting, kills: int, seed: int, root: Path) -> Iterator[Life]:
    """Kill runs of one setting until there were so many kills.

    Args:
        root: an empty folder, which is filled.

    Raises:
        RuntimeError: the setting fails undisturbed.
    """
    with ExitStack() as closing:
        words = list(setting.words)
        if setting.is_served:
            words += closing.enter_context(server(latency_s=0.02)).words
        calm = root / "undisturbed"
        calm.mkdir(parents=True)
        first = _run(setting, words, calm, None)
        second = _run(setting, words, calm, None)  # with its clone from the cache
        if first.code or second.code:
            raise RuntimeError(
                f"{setting.name} fails undisturbed: {(first.said + second.said)[-1500:]}"
            )
        rng, number = Random(f"{seed} {setting.name}"), 0
        while kills > 0:
            folder = root / f"life-{number}"
            folder.mkdir()
            longest_s = _LONGEST_SHARE_OF_ALL * first.wall_s
            if number % _WITHOUT_CACHE and (calm / "cache").exists():
                shutil.copytree(calm / "cache", folder / "cache")
                longest_s = _LONGEST_SHARE * second.wall_s
            number += 1
            life = _live(setting, words, folder, _latest(calm), rng, kills, longest_s)
            kills -= life.kills
            if not life.differences:
                shutil.rmtree(folder)
            yield life


def _live(
    setting: Setting,
    words: list[str],
    folder: Path,
    calm: Path,
    rng: Random,
    most: int,
    longest_s: float,
) -> Life:
    kills = 0
    while True:
        wait_s = rng.uniform(0, longest_s) if kills < most else None
        ending = _run(setting, words, folder, wait_s)
        if ending.code is None:
            kills += 1
            continue
        if ending.code or ending.has_traceback:
            return Life(setting.name, kills, (f"exit code {ending.code}: {ending.said[-800:]}",))
        found = differences(calm, _latest(folder), is_remote=setting.is_served)
        return Life(setting.name, kills, tuple(found))


def _run(setting: Setting, words: list[str], folder: Path, kill_after_s: float | None) -> Ending:
    """Start a run, or go on with the one that the folder has."""
    run_dir = _latest(folder)
    resume = [f"resume={run_dir}"] if run_dir.exists() and not _is_finished(run_dir) else []
    return run(
        setting.command,
        [*words, f"output_root={folder}", *resume],
        folder.with_suffix(".log"),
        kill_after_s=kill_after_s,
        prepare=with_quick_retries,
    )


def _is_finished(run_dir: Path) -> bool:
    return (run_dir / "summary.json").exists() and (run_dir / "report.html").exists()


def _latest(folder: Path) -> Path:
    evaluations = folder / "evaluations"
    return ((evaluations if evaluations.exists() else folder) / "latest").resolve()
