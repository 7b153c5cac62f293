"""Each file of a run is damaged, and the run is gone on with.

Either a sentence refuses it, or it ends in the same weights and results as without the damage; rows
that it did not need again may be damaged then, if a check of the run names them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.torture.processes import Ending, run
from tests.torture.sameness import differences
from tests.torture.settings import Setting
from tests.training.quick import without_reports
from training.storage.check import check_run

_LOCKS = (".lock", "-shm")
"""Files without content that is kept."""


def _delete(file: Path, rng: Random) -> None:
    file.unlink()


def _empty(file: Path, rng: Random) -> None:
    os.truncate(file, 0)


def _cut(file: Path, rng: Random) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _flip(file: Path, rng: Random) -> None:
    content = bytearray(file.read_bytes())
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def _garble(file: Path, rng: Random) -> None:
    file.write_bytes(rng.randbytes(max(1, file.stat().st_size)))


def _replace(file: Path, rng: Random) -> None:
    file.unlink()
    file.mkdir()


DAMAGES: Mapping[str, Callable[[Path, Random], None]] = {
    "deleted": _delete,
    "emptied": _empty,
    "cut in half": _cut,
    "a bit flipped": _flip,
    "garbled": _garble,
    "a folder in its place": _replace,
}


@dataclass(frozen=True, slots=True)
class Case:
    """One damage to one file.

    Attributes:
        outcome: "refused" by a sentence; "unharmed": the run ended as it would have without;
            "noticed": so it did, and rows that it did not need are named by a check of the run.
        differences: why it is none of these.
    """

    name: str
    outcome: str
    differences: tuple[str, ...]


def with_each_damage(
    setting: Setting, seed: int, root: Path, share: slice = slice(None)
) -> Iterator[Case]:
    """Damage each file of a run of one iteration, then go on to its second.

    Args:
        share: which of the files, sorted by their names.

    Raises:
        RuntimeError: the run fails undamaged.
    """
    root.mkdir(parents=True)
    half, calm = root / "half", root / "undamaged"
    first = _train(setting, half, "iterations=1")
    shutil.copytree(half, calm, symlinks=True)
    second = _go_on(setting, calm)
    if first.code or second.code:
        raise RuntimeError(f"{setting.name} fails undamaged: {(first.said + second.said)[-1500:]}")
    for file in sorted(path.relative_to(half) for path in _files(half))[share]:
        rng = Random(f"{seed} {_shown(file)}")
        for damage, do in DAMAGES.items():
            folder = root / "damaged"
            shutil.copytree(half, folder, symlinks=True)
            do(folder / file, rng)
            if file.parts[0] == "cache":  # only a new run reads it
                ending, expected = _train(setting, folder, "iterations=1"), half
            else:
                ending, expected = _go_on(setting, folder), calm
            yield _case(f"{_shown(file)}: {damage}", ending, folder, expected)
            shutil.rmtree(folder)


def _files(folder: Path) -> Iterator[Path]:
    """All files that are kept, those of the cached clone too."""
    for path in folder.rglob("*"):
        is_kept = not path.name.endswith(_LOCKS) and path.name not in ("log", "report.html")
        if is_kept and path.is_file() and not path.is_symlink():
            yield path


def _shown(file: Path) -> str:
    """A file's name without what is another in each run."""
    run_dir, *rest = file.parts
    return "/".join(rest if run_dir != "cache" else ["cache", *rest[1:]])


def _case(name: str, ending: Ending, folder: Path, expected: Path) -> Case:
    if ending.has_traceback:
        return Case(name, "crashed", (ending.said[-1500:],))
    if ending.code:
        is_told = bool(ending.said.strip())
        return Case(name, "refused", () if is_told else (f"exit code {ending.code} in silence",))
    found = differences(_run_of(expected), _run_of(folder))
    if found and all(each.startswith("table ") for each in found):
        if all(finding.is_right for finding in check_run(_run_of(folder))):
            return Case(name, "differs", tuple(found))
        return Case(name, "noticed", ())
    return Case(name, "differs" if found else "unharmed", tuple(found))


def _train(setting: Setting, folder: Path, *more: str) -> Ending:
    folder.mkdir(exist_ok=True)
    words = [*setting.words, f"output_root={folder}", *more]
    return run(setting.command, words, folder / "log", prepare=_without_reports)


def _without_reports() -> None:
    """No report is written, which reads nothing that is not read before; in this process alone."""
    without_reports(pytest.MonkeyPatch())


def _go_on(setting: Setting, folder: Path) -> Ending:
    return _train(setting, folder, f"resume={_run_of(folder)}", "iterations=2")


def _run_of(folder: Path) -> Path:
    return folder / os.readlink(folder / "latest")
