"""Runs on a full disk: a sentence tells of it, and with more room they go on to the same end."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.torture.processes import Ending, run
from tests.torture.sameness import differences
from tests.torture.settings import Setting

_KIB, _PAGE = 1024, 4096
_ENOUGH = "256m"


@dataclass(frozen=True, slots=True)
class Case:
    """A run that met a full disk so many times."""

    name: str
    refusals: int
    differences: tuple[str, ...]


def with_little_room(setting: Setting, root: Path, *, steps: int) -> Iterator[Case]:
    """Give runs room in so many steps, each ending in a full disk or in the end of the run.

    Yields nothing where no file system may be mounted.
    """
    calm = root / "undisturbed"
    calm.mkdir(parents=True)
    if (ending := _run(setting, calm, root / "log")).code:
        raise RuntimeError(f"{setting.name} fails undisturbed: {ending.said[-1500:]}")
    cached, needed = _size(calm / "cache"), _size(calm)
    for number in range(steps):
        with _small_disk(root / "disk") as disk:
            if disk is None:
                return
            shutil.copytree(calm / "cache", disk / "cache")
            room = cached + (needed - cached) * (number + 1) // (steps + 1)
            yield _fill(setting, disk, calm, root / "log", room)


def _fill(setting: Setting, disk: Path, calm: Path, log: Path, size: int) -> Case:
    """Run with that much room, then a quarter more, then enough."""
    name, refusals = f"{size // _KIB} KiB of room", 0
    for room in (f"{size // _KIB}k", f"{size * 5 // 4 // _KIB}k", _ENOUGH):
        subprocess.run(["mount", "-o", f"remount,size={room}", str(disk)], check=True)
        ending = _run(setting, disk, log)
        if ending.has_traceback:
            return Case(name, refusals, (ending.said[-1500:],))
        if not ending.code:
            return Case(name, refusals, tuple(differences(_latest(calm), _latest(disk))))
        refusals += 1
    return Case(name, refusals, (f"exit code {ending.code}: {ending.said[-800:]}",))


def _run(setting: Setting, output_root: Path, log: Path) -> Ending:
    """Start a run, or go on with the one that is there."""
    run_dir = _latest(output_root)
    resume = [f"resume={run_dir}"] if run_dir.exists() else []
    return run(setting.command, [*setting.words, f"output_root={output_root}", *resume], log)


def _size(folder: Path) -> int:
    """Bytes of all files, each in whole pages, as a tmpfs counts them."""
    sizes = (file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return sum(-(-size // _PAGE) * _PAGE for size in sizes) + _PAGE


def _latest(folder: Path) -> Path:
    return (folder / "latest").resolve()


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_ENOUGH}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
