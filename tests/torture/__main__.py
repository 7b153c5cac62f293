"""Torments small runs, and says what differs afterwards: kills, damaged files, a full disk, faults.

    make torture                              # all of it, under an hour on two cores
    python -m tests.torture --kills 60 --only kills damage

Exits with 1 if anything differs, or if something that was asked for was not tried.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.common import ROOT, machine
from tests.torture.damage import with_each_damage
from tests.torture.faults import with_each_fault
from tests.torture.full_disk import with_little_room
from tests.torture.kills import torment
from tests.torture.settings import SETTINGS, Setting

KINDS = ("kills", "damage", "disk", "faults")
_TELL_S = 30.0


@dataclass
class Tally:
    """What came of one kind of torment of one setting.

    Attributes:
        tried: kills, damages, full disks or faults.
        ends: runs that came to their end and were compared.
        refused: damages and full disks that a sentence told of.
        differences: what differed afterwards, each with what had been done.
    """

    kind: str
    setting: str
    tried: int = 0
    ends: int = 0
    refused: int = 0
    differences: list[str] = field(default_factory=list)


def kill(setting: Setting, kills: int, seed: int, root: Path) -> Iterator[Tally]:
    """Count what becomes of killed runs."""
    tally = Tally("kills", setting.name)
    for life in torment(setting, kills, seed, root):
        tally.tried += life.kills
        tally.ends += 1
        tally.differences += [f"after {life.kills} kills: {found}" for found in life.differences]
        yield tally


def damage(setting: Setting, seed: int, root: Path, share: slice) -> Iterator[Tally]:
    """Count what becomes of damaged runs."""
    tally = Tally("damage", setting.name)
    for case in with_each_damage(setting, seed, root, share):
        tally.tried += 1
        tally.refused += case.outcome in ("refused", "noticed")
        tally.ends += case.outcome == "unharmed"
        tally.differences += [f"{case.name}: {found}" for found in case.differences]
        yield tally


def fill_disk(setting: Setting, root: Path) -> Iterator[Tally]:
    """Count what becomes of runs on a full disk."""
    tally = Tally("disk", setting.name)
    for case in with_little_room(setting, root, steps=12):
        tally.tried += 1
        tally.refused += case.refusals
        tally.ends += 1
        tally.differences += [f"{case.name}: {found}" for found in case.differences]
        yield tally


def fail(setting: Setting, root: Path) -> Iterator[Tally]:
    """Count what becomes of evaluations by a server with faults."""
    tally = Tally("faults", setting.name)
    for case in with_each_fault(setting, root):
        tally.tried += 1
        tally.ends += 1
        tally.differences += [f"{case.name}: {found}" for found in case.differences]
        yield tally


def plan(
    kinds: Sequence[str], settings: Sequence[Setting], kills: int, seed: int, root: Path
) -> Iterator[partial[Iterator[Tally]]]:
    """What is to be done, the longest first."""
    by_name = {setting.name: setting for setting in settings}
    for part in range(2 if "damage" in kinds and "short sdpo" in by_name else 0):
        folder, share = root / f"damage-{part}", slice(part, None, 2)
        yield partial(damage, by_name["short sdpo"], seed, folder, share)
    for number, setting in enumerate(settings if "kills" in kinds else ()):
        share = kills // len(settings) + (number < kills % len(settings))
        yield partial(kill, setting, share, seed, root / f"kills-{number}")
    if "faults" in kinds and "evaluation" in by_name:
        yield partial(fail, by_name["evaluation"], root / "faults")
    if "disk" in kinds and "short sdpo" in by_name:
        yield partial(fill_disk, by_name["short sdpo"], root / "disk")


def finish(task: partial[Iterator[Tally]]) -> Tally | None:
    """Do a task to its end, and say every half minute how far it is."""
    tally, told = None, time.monotonic()
    try:
        for tally in task():
            if time.monotonic() - told > _TELL_S:
                told = time.monotonic()
                print(
                    f"{tally.kind}, {tally.setting}: {tally.tried} tried, "
                    f"{len(tally.differences)} differences",
                    flush=True,
                )
    except Exception as error:  # of the harness: what the other tasks found is still recorded
        tally = tally or Tally(task.func.__name__, "not begun")
        tally.differences.append(f"the harness failed: {error!r}")
    return tally


def main() -> None:
    """Torment, print a table, and write a record."""
    args = _arguments().parse_args()
    settings = [s for s in SETTINGS if s.name in args.settings]
    if missing := [s for s in settings if s.needs and find_spec(s.needs) is None]:
        raise SystemExit(f"{missing[0].name} needs the package {missing[0].needs}")
    for module in {setting.command for setting in settings}:
        importlib.import_module(module)  # before the fork, so that no attempt waits for it
    root = Path(tempfile.mkdtemp(prefix="torture-"))
    record = _provenance()
    tasks = list(plan(args.only, settings, args.kills, args.seed, root))
    workers = ProcessPoolExecutor(args.jobs, mp_context=get_context("fork"))
    started = time.monotonic()
    with workers:
        done = [f.result() for f in as_completed([workers.submit(finish, t) for t in tasks])]
    tallies = sorted(filter(None, done), key=lambda t: (t.kind, t.setting))
    minutes = (time.monotonic() - started) / 60
    show(tallies, minutes)
    if args.out:
        record |= {"minutes": round(minutes, 1)} | {"tallies": [asdict(tally) for tally in tallies]}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(record, indent=1) + "\n")
    if any(tally.differences for tally in tallies):
        raise SystemExit(f"differences were found; the folders of killed runs are in {root}")
    shutil.rmtree(root)
    if len(tallies) < len(tasks) or not all(tally.ends + tally.refused for tally in tallies):
        raise SystemExit("something was not tried; on a full disk, mounting a tmpfs takes root")


def show(tallies: Sequence[Tally], minutes: float) -> None:
    """Print what was done and what differed."""
    table = Table("torment", "setting", "tried", "ended", "refused", "differences")
    for tally in tallies:
        counts = (tally.tried, tally.ends, tally.refused, len(tally.differences))
        table.add_row(tally.kind, tally.setting, *map(str, counts))
    console = Console(width=100)
    console.print(table)
    for tally in tallies:
        for found in tally.differences:
            console.print(f"{tally.kind}, {tally.setting}, {found}", markup=False, soft_wrap=True)
    tried = sum(tally.tried for tally in tallies)
    different = sum(len(tally.differences) for tally in tallies)
    console.print(f"{tried} torments in {minutes:.0f} minutes, {different} differences")


def _provenance() -> dict[str, object]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    return {
        "command": "python -m tests.torture " + shlex.join(sys.argv[1:]),
        "commit": commit.stdout.strip() or None,
        "machine": machine("torch", "transformers", "vllm"),
    }


def _arguments() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m tests.torture",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    everywhere = [setting.name for setting in SETTINGS if setting.needs is None]
    names = [setting.name for setting in SETTINGS]
    made.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="kinds of torment")
    made.add_argument(
        "--settings",
        nargs="+",
        choices=names,
        default=everywhere,
        help="the runs; those that need no more packages",
    )
    made.add_argument("--kills", type=int, default=500, help="of all settings together")
    made.add_argument("--seed", type=int, default=0, help="of the moments and the bits")
    made.add_argument("--jobs", type=int, default=2, help="runs at once")
    made.add_argument("--out", type=Path, help="where a record is written, as JSON")
    return made


if __name__ == "__main__":
    main()
