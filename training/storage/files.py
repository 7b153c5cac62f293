"""Writes files atomically, so that a killed process leaves no partial file; JSON and YAML.

What is being written lies under a name of its own, `part_of`, until it is whole. Such names are
left behind by a kill; `remove_old` removes those that are too old to be of a process at work.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]
from safetensors import SafetensorError

from envs.errors import FOREIGN_FAULTS, ConfigError, DiskError, in_one_line


def part_of(path: Path) -> Path:
    """A name beside a file, folder or link under which it is made; each call gives another."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, replacing an older one; it is on disk when this returns.

    Raises:
        DiskError: it cannot be written.
    """
    part = part_of(path)
    with writing(path):
        try:
            with part.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        flush(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise what is said of a file that cannot be written as a sentence.

    Raises:
        DiskError: of any `OSError` in the block, and of any error in which safetensors hides one.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise DiskError(disk_sentence(path, error)) from error


def disk_sentence(path: object, error: Exception) -> str:
    """Says that a file cannot be written, why, and what to do."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (
        f"{path} cannot be written ({why}): free some space, or see whether you may write there, "
        "and do it again."
    )


def remove_old(paths: Iterable[Path], *, age_s: float) -> None:
    """Remove files and folders in which nothing has changed for `age_s` seconds."""
    for path in paths:
        with suppress(OSError):  # another process may remove it at the same time
            inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
            if time.time() - max(p.lstat().st_mtime for p in (path, *inside)) < age_s:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless they are there; their names are on disk then."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        flush(folder.parent)


def flush(path: Path) -> None:
    """Wait until the content of a file, or the entries of a folder, are on disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def to_json(value: object, *, indent: int | None = None) -> str:
    """Encode a value as strict JSON; NaN and infinity (a diverged loss) become null."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)


def parse_json(text: str | bytes) -> Any:
    """Parse JSON that somebody else may have written.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_json(file: Path) -> Any:
    """Parse a JSON file.

    Raises:
        ValueError: see `parse_json`; or it is not UTF-8.
    """
    return parse_json(file.read_text(encoding="utf-8"))


def read_object(file: Path, *, empty: bool = False) -> dict[str, Any]:
    """Parse the JSON object in a file of somebody's model.

    Args:
        empty: whether an empty file is an object without entries.

    Raises:
        ConfigError: the file holds no object.
    """
    try:
        text = file.read_text(encoding="utf-8")
        found = {} if empty and not text.strip() else parse_json(text)
    except ValueError as error:
        raise ConfigError(f"{file} is not JSON ({in_one_line(error)}); copy it again.") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file} holds no options; copy it again.")
    return found


MOST_VALUES: Final = 100_000


def parse_yaml(text: str) -> Any:
    """Parse a YAML document of at most `MOST_VALUES` values, each alias counted with all its own.

    Raises:
        yaml.YAMLError: it is no YAML, or it is larger: some lines of aliases to aliases make
            billions of values.
    """
    try:
        count = _count_values(yaml.compose(text, Loader=yaml.SafeLoader), {})
        if count > MOST_VALUES:
            raise yaml.YAMLError(f"it has more than {MOST_VALUES:,} values, aliases written out")
        return yaml.safe_load(text)
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    except FOREIGN_FAULTS as error:  # of dates that are none, and of numbers without digits
        raise yaml.YAMLError(f"a value cannot be read: {in_one_line(error)}") from error


def _count_values(node: yaml.Node | None, known: dict[int, float]) -> float:
    """How many values a node has with its aliases written out; infinite where one holds itself."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf  # if it is met again inside itself
        pairs = isinstance(node, yaml.MappingNode)
        parts = [part for pair in node.value for part in pair] if pairs else node.value
        known[id(node)] = 1 + sum(_count_values(part, known) for part in parts)
    return known[id(node)]


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
