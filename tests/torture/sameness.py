"""What differs between two runs that should be the same, by their files alone.

Nothing of the code under test reads them: rows are compared as SQLite gives them, files as bytes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

_CLOCK = {"waves": "phase, iteration, wave"}
"""Tables with a time of day, and their columns without it."""

_UNORDERED = "SELECT {columns} FROM {table}{where}"
_TIMES = " WHERE name NOT IN ('wall_s', 'summary.json')"
"""Seconds, and the digest of a file that has seconds in it."""


def differences(one: Path, other: Path, *, is_remote: bool = False) -> list[str]:
    """Name what differs in weights, store and results; nothing but the clock may.

    Args:
        is_remote: whether models behind APIs were called; what calls cost may differ then, as those
            under way at a kill are asked again.
    """
    found = [*_weights(one, other), *_rows(one, other)]
    names = ["measures.json"] if is_remote else ["measures.json", "metrics.jsonl"]
    found += [name for name in names if _content(one / name) != _content(other / name)]
    if not is_remote and _summary(one) != _summary(other):
        found.append("summary.json")
    return found


def _weights(one: Path, other: Path) -> Iterator[str]:
    saved, twins = _checkpoints(one), _checkpoints(other)
    for name in sorted(saved.keys() | twins.keys()):
        if saved.get(name) != twins.get(name):
            yield name


def _checkpoints(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): sha256(file.read_bytes()).hexdigest()
        for file in folder.glob("checkpoints/*/*")
        if file.is_file()
    }


def _rows(one: Path, other: Path) -> Iterator[str]:
    with closing(_open(one)) as left, closing(_open(other)) as right:
        tables = [
            row[0] for row in left.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        for table in sorted({*tables} - {"digests"}):
            columns = _CLOCK.get(table, "*")
            query = _UNORDERED.format(
                columns=columns, table=table, where=_TIMES if table == "steps" else ""
            )
            if sorted(map(repr, left.execute(query))) != sorted(map(repr, right.execute(query))):
                yield f"table {table}"


def _open(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{folder / 'store.sqlite'}?mode=ro", uri=True)


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def _summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found | {"wall_s": None}
