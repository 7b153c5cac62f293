"""Writes files atomically, so that a killed process leaves no partial file; JSON helpers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envs.errors import ConfigError


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, replacing an older one; it is on disk when this returns."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    flush(path.parent)


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


def read_json(file: Path) -> Any:
    """Parse a JSON file."""
    return json.loads(file.read_text(encoding="utf-8"))


def read_object(file: Path, *, empty: bool = False) -> dict[str, Any]:
    """Parse the JSON object in a file of somebody's model.

    Args:
        empty: whether an empty file is an object without entries.

    Raises:
        ConfigError: the file holds no object.
    """
    try:
        text = file.read_text(encoding="utf-8")
        found = {} if empty and not text.strip() else json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{file} is not JSON ({error}); copy it again.") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file} holds no options; copy it again.")
    return found


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
