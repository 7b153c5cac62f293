"""Writes files atomically, so that a killed process leaves no partial file; JSON and YAML."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

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


MOST_VALUES: Final = 100_000


def parse_yaml(text: str) -> Any:
    """Parse a YAML document of at most `MOST_VALUES` values, each alias counted with all its own.

    Raises:
        yaml.YAMLError: it is no YAML, or it is larger: some lines of aliases to aliases make
            billions of values.
    """
    try:
        count = _count_values(yaml.compose(text, Loader=yaml.SafeLoader), {})
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    if count > MOST_VALUES:
        raise yaml.YAMLError(f"it has more than {MOST_VALUES:,} values, aliases written out")
    return yaml.safe_load(text)


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
