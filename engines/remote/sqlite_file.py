"""How the SQLite files of the remote client are opened: the ledger and the store of answers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from envs.errors import StoreError


def prepare_database(
    db: sqlite3.Connection, tables: str, version: int, place: Path | None, do: str
) -> None:
    """Create the tables of a new file, or check the version of an old one; turn the WAL on.

    Writes reach the operating system at once and the disk now and then.

    Args:
        do: what to do about a file of another version, for the error message.

    Raises:
        StoreError: the file is of another version.
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


def put_on_disk(db: sqlite3.Connection, version: int) -> None:
    """Wait until everything committed so far is on disk: one commit that waits takes all along."""
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA user_version = {version}")  # as it is; this writes a page
    db.execute("PRAGMA synchronous = NORMAL")
