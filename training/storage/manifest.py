"""Manifests: the SHA-256 of every file of a checkpoint, so that a damaged one is never read.

What begins with a dot is left out: systems and tools keep such files everywhere, and no loader of
models reads them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from envs.errors import CheckpointError, in_one_line, quoted
from training.storage.files import read_json, to_json, write_text
from training.storage.learned import LEARNED
from training.storage.run_files import CHECKPOINTS, CONFIG

MANIFEST = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Write the manifest of a finished checkpoint."""
    sums = {name: _sha256(folder / name) for name in _file_names(folder)}
    write_text(folder / MANIFEST, to_json({"sha256": sums}, indent=2))


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is a checkpoint of Parley, or what is left of one."""
    return in_a_run(folder) or any((folder / name).is_file() for name in (MANIFEST, LEARNED))


def in_a_run(folder: Path) -> bool:
    """Whether a folder lies where a run keeps its checkpoints."""
    checkpoints = folder.resolve().parent
    return checkpoints.name == CHECKPOINTS and (checkpoints.parent / CONFIG).is_file()


def check_files(folder: Path) -> dict[str, str]:
    """Check that a checkpoint has the files that its manifest lists, and no others.

    Returns:
        The SHA-256 that each file should have.

    Raises:
        CheckpointError: the manifest is missing or says nothing, or a file is missing or too many.
    """
    sums, there = _manifest(folder), set(_file_names(folder))
    if missing := sorted(sums.keys() - there):
        name = quoted(missing[0])[1:-1]  # somebody else may have written it
        raise CheckpointError(
            f"{folder / name} is missing, but the checkpoint's manifest lists it: copy the "
            "whole folder again, or take the checkpoint before this one."
        )
    if unlisted := sorted(there - sums.keys()):
        raise CheckpointError(
            f"{folder / unlisted[0]} is not in the checkpoint's manifest, so it was put there "
            "later and might be read as a part of the model: move it out of the folder."
        )
    return sums


def verify_checkpoint(folder: Path | str) -> None:
    """Check that a checkpoint has the files that its manifest lists, each with its SHA-256.

    Raises:
        CheckpointError: a file is missing, changed or too many; the message names it.
    """
    folder = Path(folder)
    for name, expected in check_files(folder).items():
        file = folder / name
        got = _sha256(file)
        if got != expected:
            raise CheckpointError(
                f"{file} has SHA-256 {got[:12]}..., but the manifest says {expected[:12]}...: it "
                "was changed or damaged. Copy it again, or take the checkpoint before this one."
            )


def _manifest(folder: Path) -> dict[str, str]:
    try:
        found = read_json(folder / MANIFEST)["sha256"]
        sums = {str(name): str(expected) for name, expected in found.items()}
        if not sums:
            raise ValueError("it lists no files")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / MANIFEST} is missing or cannot be read ({in_one_line(error)}), so the "
            "checkpoint cannot be trusted: name the folder of a finished checkpoint, "
            "checkpoints/NNNN, or copy the whole folder again."
        ) from error
    return sums


def _file_names(folder: Path) -> list[str]:
    """All files but the manifest, and but those that begin with a dot or lie in such a folder."""
    names = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    shown = (name for name in names if not any(part.startswith(".") for part in name.parts))
    return sorted(name.as_posix() for name in shown if name.as_posix() != MANIFEST)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
