"""Removes what killed processes left behind: half-written files, and run folders without a store.

Age decides, since a process on another machine cannot be asked whether it lives. Writing takes
minutes, so what has not changed for a day is nobody's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from training.storage.database import lock_of
from training.storage.files import remove_old
from training.storage.run_files import CACHE, CHECKPOINTS, CONFIG, LATEST, STORE

AGE_S: Final = 24 * 3600.0

_PARTS = (".*.part",)
_LINK_PARTS = (f".{LATEST}.*part",)
_CACHE_PARTS = (
    *(".clone-*.part", "..clone-*.part", ".clone-*.old"),
    # names that earlier releases gave
    *(f"clone-{'[0-9a-f]' * 16}-*", "clone-*.under-way.safetensors.*"),
)
"""An output root may be anybody's folder: nothing is removed but by names that only we give."""

_D = "[0-9]"
_RUNS = f"{_D * 4}-{_D * 2}-{_D * 2}_{_D * 2}-{_D * 2}-{_D * 2}*"


def remove_leftovers(output_root: Path) -> None:
    """Remove what was left in an output root and its cache, unless it may be in use."""
    cache = output_root / CACHE
    remove_old(_found(output_root, _LINK_PARTS), age_s=AGE_S)
    remove_old(_found(cache, _CACHE_PARTS), age_s=AGE_S)
    remove_old(_finished(cache), age_s=AGE_S)
    remove_old((f for f in output_root.glob(_RUNS) if _is_dead(f)), age_s=AGE_S)


def remove_parts(folder: Path) -> None:
    """Remove what was left in a run's folder."""
    remove_old(_found(folder, _PARTS), age_s=AGE_S)


def _found(folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        yield from folder.glob(pattern)


def _finished(cache: Path) -> Iterator[Path]:
    """Training under way, of a stage that another process has finished."""
    for file in cache.glob("clone-*.under-way.safetensors"):
        if file.with_name(file.name.partition(".")[0]).is_dir():
            yield file


def _is_dead(folder: Path) -> bool:
    """Whether a run's process died before it made the store: nothing of it is worth keeping."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    ours = {CONFIG, CHECKPOINTS, lock_of(folder / STORE).name}
    names = {path.name for path in folder.iterdir() if not path.match(_PARTS[0])}
    return names <= ours and not any((folder / CHECKPOINTS).glob("*"))
