"""Digests of what a store holds: sealed in the transaction that writes it, checked when it is read.

SQLite has no checksums, so a bit that flips on a disk is read as if it had been written. A *part*
is the rows of one table that are written and read together, such as the generations of one wave.
Its digest is the SHA-256 of its rows in order, each as one line of JSON.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

Key = tuple[str | int, ...]
"""The values of a part's columns, which say whose rows they are."""

SCHEMA = """
CREATE TABLE digests (
    part TEXT NOT NULL, key TEXT NOT NULL, rows INTEGER NOT NULL, sha256 TEXT NOT NULL,
    PRIMARY KEY (part, key)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Part:
    """How a table is divided.

    Attributes:
        columns: of `keyed_by`, whose values make one key.
        keyed_by: the table that has them.
        query: SQL for the rows of one key, in a fixed order.
    """

    columns: tuple[str, ...]
    keyed_by: str
    query: str


_WAVE, _PLACE = ("phase", "iteration", "wave"), ("iteration", "wave")
_OF_WAVE = "e.phase = ? AND e.iteration = ? AND e.wave = ?"
_OF_PLACE = "g.iteration = ? AND g.wave = ?"

PARTS: Mapping[str, Part] = {
    "waves": Part(
        ("phase", "iteration"),
        "waves",
        "SELECT * FROM waves WHERE phase = ? AND iteration = ? ORDER BY wave",
    ),
    "episodes": Part(
        _WAVE, "episodes", f"SELECT e.* FROM episodes e WHERE {_OF_WAVE} ORDER BY e.rowid"
    ),
    "scenarios": Part(
        _WAVE,
        "episodes",
        "SELECT * FROM scenarios WHERE id IN"
        f" (SELECT scenario_id FROM episodes e WHERE {_OF_WAVE}) ORDER BY id",
    ),
    "generations": Part(
        _WAVE,
        "episodes",
        "SELECT g.* FROM episodes e JOIN generations g ON g.episode_id = e.id"
        f" WHERE {_OF_WAVE} ORDER BY e.rowid, g.turn",
    ),
    "judgements": Part(
        _WAVE,
        "episodes",
        "SELECT j.* FROM episodes e JOIN judgements j ON j.episode_id = e.id"
        f" WHERE {_OF_WAVE} ORDER BY e.rowid",
    ),
    "groups": Part(
        _PLACE, "groups", f"SELECT g.* FROM groups g WHERE {_OF_PLACE} ORDER BY g.rowid"
    ),
    "branches": Part(
        _PLACE,
        "groups",
        "SELECT b.* FROM groups g JOIN branches b ON b.group_id = g.id"
        f" WHERE {_OF_PLACE} ORDER BY g.rowid, b.k",
    ),
    "examples": Part(
        ("iteration",), "examples", "SELECT * FROM examples WHERE iteration = ? ORDER BY k"
    ),
    "drops": Part(
        ("iteration",), "drops", "SELECT * FROM drops WHERE iteration = ? ORDER BY stage, reason"
    ),
    "steps": Part(("name",), "steps", "SELECT * FROM steps WHERE name = ? ORDER BY iteration"),
}
"""All tables that hold a run's work."""


@dataclass(frozen=True, slots=True)
class Digest:
    """How many rows a part has, and the SHA-256 over them in hex digits."""

    rows: int
    sha256: str


def digest(rows: Iterable[sqlite3.Row]) -> Digest:
    """The digest of rows in their order; columns without a value are left out of it."""
    total, count = sha256(), 0
    for row in rows:
        count += 1
        fields = {name: value for name, value in dict(row).items() if value is not None}
        total.update(json.dumps(fields, default=bytes.hex).encode() + b"\n")
    return Digest(count, total.hexdigest())


NOTHING = digest(())
"""The digest of a part without rows, which is not written down."""


def rows_of(db: sqlite3.Connection, part: str, key: Key) -> list[sqlite3.Row]:
    """The rows of one part."""
    return db.execute(PARTS[part].query, key).fetchall()


def sealed(db: sqlite3.Connection, part: str, key: Key) -> Digest:
    """The digest that was written down with a part."""
    found = db.execute(
        "SELECT rows, sha256 FROM digests WHERE part = ? AND key = ?", (part, json.dumps(key))
    ).fetchone()
    return NOTHING if found is None else Digest(*found)


def seal(db: sqlite3.Connection, part: str, key: Key) -> None:
    """Write down the digest of a part as it is now; call it in the transaction that changes it."""
    found, name = digest(rows_of(db, part, key)), json.dumps(key)
    db.execute("DELETE FROM digests WHERE part = ? AND key = ?", (part, name))
    if found != NOTHING:
        db.execute(
            "INSERT INTO digests VALUES (?, ?, ?, ?)", (part, name, found.rows, found.sha256)
        )


def seal_all(db: sqlite3.Connection) -> None:
    """Write down the digests of everything that a store without digests holds."""
    for part in PARTS:
        for key in _keys_of_rows(db, part):
            seal(db, part, key)


def keys(db: sqlite3.Connection, part: str, *, with_digests: bool) -> list[Key]:
    """The keys of all parts of a table that have rows, or a digest that says they should."""
    found = _keys_of_rows(db, part)
    if with_digests:
        written = db.execute("SELECT key FROM digests WHERE part = ?", (part,))
        found |= {tuple(json.loads(key)) for (key,) in written}
    return sorted(found)


def _keys_of_rows(db: sqlite3.Connection, part: str) -> set[Key]:
    columns, table = ", ".join(PARTS[part].columns), PARTS[part].keyed_by
    return {tuple(row) for row in db.execute(f"SELECT DISTINCT {columns} FROM {table}")}


def place_of(part: str, key: Key) -> str:
    """Names a part for people: "table generations (phase collect, iteration 2, wave 0)"."""
    named = ", ".join(f"{c} {v}" for c, v in zip(PARTS[part].columns, key, strict=True))
    return f"table {part} ({named})"
