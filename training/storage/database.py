"""The SQLite database under a run's store: its tables, its write lock and its transactions.

One process writes, any number read. The write lock is a file beside the database, because SQLite
before 3.51.3 can damage a WAL that two connections write to; the operating system releases the
lock when the process dies, for whatever reason. What is read is compared with its digest.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envs.errors import StoreError
from training.storage import digests
from training.storage.digests import Key

SCHEMA_VERSION = 4
_WITHOUT_CONSTRAINTS, _WITHOUT_DIGESTS = 2, 3
_READABLE = (_WITHOUT_CONSTRAINTS, _WITHOUT_DIGESTS, SCHEMA_VERSION)
"""Version 2 has no column `constraint_nats`, and neither has version 3 digests; both are added when
such a store is written to."""

_SCHEMA = (
    """
CREATE TABLE scenarios (
    id TEXT PRIMARY KEY, family TEXT NOT NULL, split TEXT NOT NULL, payload TEXT NOT NULL);
CREATE TABLE waves (
    phase TEXT NOT NULL, iteration INTEGER NOT NULL, wave INTEGER NOT NULL, done_at REAL NOT NULL,
    PRIMARY KEY (phase, iteration, wave)) WITHOUT ROWID;
CREATE TABLE episodes (
    id TEXT PRIMARY KEY, phase TEXT NOT NULL, iteration INTEGER NOT NULL, wave INTEGER NOT NULL,
    scenario_id TEXT NOT NULL REFERENCES scenarios (id),
    players TEXT NOT NULL, turns TEXT NOT NULL, end TEXT NOT NULL, deal TEXT, seed TEXT NOT NULL,
    parent_id TEXT REFERENCES episodes (id) DEFERRABLE INITIALLY DEFERRED, branch_turn INTEGER,
    FOREIGN KEY (phase, iteration, wave) REFERENCES waves DEFERRABLE INITIALLY DEFERRED);
CREATE INDEX episodes_by_wave ON episodes (phase, iteration, wave);
CREATE TABLE generations (
    episode_id TEXT NOT NULL REFERENCES episodes (id), turn INTEGER NOT NULL, seat INTEGER NOT NULL,
    context_ids BLOB NOT NULL, token_ids BLOB NOT NULL, logps BLOB NOT NULL,
    sampling TEXT NOT NULL, seed TEXT NOT NULL, weights_version TEXT NOT NULL,
    constraint_nats REAL, PRIMARY KEY (episode_id, turn));
CREATE TABLE judgements (
    episode_id TEXT PRIMARY KEY REFERENCES episodes (id), judge_id TEXT NOT NULL,
    judge_version TEXT NOT NULL, status TEXT NOT NULL CHECK (status IN ('scored', 'unscored')),
    scores TEXT NOT NULL, reasons TEXT NOT NULL, details TEXT NOT NULL);
CREATE TABLE groups (
    id TEXT PRIMARY KEY, iteration INTEGER NOT NULL, wave INTEGER NOT NULL,
    episode_id TEXT NOT NULL REFERENCES episodes (id) DEFERRABLE INITIALLY DEFERRED,
    seat INTEGER NOT NULL, turn INTEGER NOT NULL, critic TEXT NOT NULL, reason TEXT NOT NULL,
    segment_turns INTEGER, preferences TEXT);
CREATE INDEX groups_by_wave ON groups (iteration, wave);
CREATE TABLE branches (
    group_id TEXT NOT NULL REFERENCES groups (id), k INTEGER NOT NULL,
    episode_id TEXT NOT NULL REFERENCES episodes (id) DEFERRABLE INITIALLY DEFERRED,
    win_prob REAL NOT NULL, PRIMARY KEY (group_id, k)) WITHOUT ROWID;
CREATE TABLE examples (
    iteration INTEGER NOT NULL, k INTEGER NOT NULL, group_id TEXT NOT NULL REFERENCES groups (id),
    payload TEXT NOT NULL, PRIMARY KEY (iteration, k));
CREATE TABLE drops (
    iteration INTEGER NOT NULL, stage TEXT NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (iteration, stage, reason)) WITHOUT ROWID;
CREATE TABLE steps (
    iteration INTEGER NOT NULL, name TEXT NOT NULL, payload TEXT NOT NULL,
    PRIMARY KEY (iteration, name)) WITHOUT ROWID;
"""
    + digests.SCHEMA
)


def lock_of(path: Path) -> Path:
    """The file beside a database that its writer locks."""
    return path.with_name(path.name + ".lock")


def lock_for_writing(path: Path) -> int:
    """Take the write lock of a database; closing the returned file descriptor releases it.

    Raises:
        StoreError: another process holds it.
    """
    try:
        lock = os.open(lock_of(path), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(
            f"cannot write beside {path} ({error.strerror}): choose a folder that exists and that "
            "you may write to."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(lock, 20, 0).decode() or "unknown"
        os.close(lock)
        raise StoreError(
            f"{path} is being written by process {holder}, and a run has one writer at a time: "
            "wait until that process ends or stop it, or open the store with Store.read_only()."
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open a database for writing, creating it if needed; a commit returns once it is on disk.

    Raises:
        StoreError: the file is not a database of this schema version.
    """
    with errors_named(path):
        db = _connect(path, mode="rwc")
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            _create_tables(db)
            _check_version(db, path)
            _bring_up_to_date(db)
        except BaseException:
            db.close()
            raise
    return db


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open an existing database for reading, also while a run writes to it.

    Raises:
        StoreError: there is none, or it has another schema version.
    """
    if not path.is_file():
        raise StoreError(f"there is no store at {path}: name the store.sqlite of a run.")
    with errors_named(path):
        db = _connect(path, mode="ro")
        try:
            _check_version(db, path)
        except BaseException:
            db.close()
            raise
    return db


@contextmanager
def transaction(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Run a block as one transaction: committed as a whole, or rolled back on an exception."""
    with errors_named(path):
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as `StoreError`s that name the file."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise StoreError(
            f"{path} does not take this work ({error}): each id may be added once, after what it "
            "refers to; ask wave_done() before doing a wave again."
        ) from error
    except sqlite3.Error as error:
        raise StoreError(
            f"SQLite failed on {path} ({error}): see whether the disk is full, whether the file "
            "may be read and written, and whether it is the store.sqlite of a run."
        ) from error


RESCUE = (
    "Bring back a copy of the run's folder, or start a new run; python -m training.store check RUN "
    "says what else is damaged."
)


@contextmanager
def reading(path: Path, where: str) -> Iterator[None]:
    """Raise whatever damage makes of reading as a `StoreError` that names the file.

    Args:
        where: what is read, such as "table episodes".
    """
    try:
        yield
    # Rows that are not what was written break in every way when they are parsed.
    except (sqlite3.Error, ArithmeticError, LookupError, TypeError, ValueError, struct.error) as e:
        raise StoreError(
            f"{path}: {where} cannot be read ({type(e).__name__}: {e}). {RESCUE}"
        ) from e


def has_digests(db: sqlite3.Connection) -> bool:
    """Whether the database was written with digests, so that what is read can be checked."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version) > _WITHOUT_DIGESTS


def checked_rows(db: sqlite3.Connection, path: Path, part: str, key: Key) -> list[sqlite3.Row]:
    """The rows of one part, compared with their digest where the database has digests.

    Raises:
        StoreError: they cannot be read, or are not those that were written.
    """
    with reading(path, digests.place_of(part, key)), _snapshot(db):
        rows = digests.rows_of(db, part, key)
        if not has_digests(db):
            return rows
        found, written = digests.digest(rows), digests.sealed(db, part, key)
    if found != written:
        raise StoreError(
            f"{path}: {digests.place_of(part, key)} is damaged. It has {found.rows} rows with "
            f"SHA-256 {found.sha256[:12]}..., but {written.rows} rows with "
            f"{written.sha256[:12]}... were written. {RESCUE}"
        )
    return rows


def part_keys(db: sqlite3.Connection, path: Path, part: str) -> list[Key]:
    """The keys of all parts of a table.

    Raises:
        StoreError: they cannot be read.
    """
    with reading(path, f"table {part}"), _snapshot(db):
        return digests.keys(db, part, with_digests=has_digests(db))


@contextmanager
def _snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """Show one state of the database to all reads of a block, also while a run writes to it."""
    if db.in_transaction:
        yield
        return
    db.execute("BEGIN")
    try:
        yield
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _connect(path: Path, *, mode: str) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None)
    db.row_factory = sqlite3.Row
    return db


def _create_tables(db: sqlite3.Connection) -> None:
    """Create all tables in one transaction, so that a kill in between leaves none."""
    (tables,) = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if tables == 0:
        version = f"PRAGMA user_version = {SCHEMA_VERSION};"
        db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {version} COMMIT;")


def _check_version(db: sqlite3.Connection, path: Path) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version not in _READABLE:
        raise StoreError(
            f"{path} has schema version {version}, but this program reads version "
            f"{SCHEMA_VERSION}: use the release that made the run, or start a new run."
        )


def _bring_up_to_date(db: sqlite3.Connection) -> None:
    """Add what a store of an earlier version lacks, in one transaction.

    Its rows are sealed as they are: damage is noticed from now on.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        if version == _WITHOUT_CONSTRAINTS:
            db.execute("ALTER TABLE generations ADD COLUMN constraint_nats REAL")
        db.execute(digests.SCHEMA)
        digests.seal_all(db)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
