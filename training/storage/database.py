"""The SQLite database under a run's store: its tables, its write lock and its transactions.

One process writes, any number read. The write lock is a file beside the database, because SQLite
before 3.51.3 can damage a WAL that two connections write to; the operating system releases the
lock when the process dies, for whatever reason.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envs.errors import StoreError

SCHEMA_VERSION = 3
_READABLE = (2, SCHEMA_VERSION)
"""Version 2 has no column `constraint_nats`, which is added when such a store is written to."""

_SCHEMA = """
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


def lock_for_writing(path: Path) -> int:
    """Take the write lock of a database; closing the returned file descriptor releases it.

    Raises:
        StoreError: another process holds it.
    """
    try:
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
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
    """Add what a store of an earlier version lacks, in one transaction."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION:
        db.executescript(
            "BEGIN IMMEDIATE; ALTER TABLE generations ADD COLUMN constraint_nats REAL;"
            f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )
