"""The tables of the client's two SQLite files."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from envs.errors import StoreError


def set_up(db: sqlite3.Connection, tables: str, version: int, place: Path | None, do: str) -> None:
    """Write to the system at once and to the disk now and then; make the tables, or check them.

    Args:
        do: what to do about a file of another version, for the error.

    Raises:
        StoreError: it is of another version.
    """
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found == 0:
        db.executescript(f"BEGIN; {tables} PRAGMA user_version = {version}; COMMIT;")
    elif found != version:
        raise StoreError(
            f"{place} has schema version {found}, but this program reads version {version}: {do}."
        )
