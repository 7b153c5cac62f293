"""The ledger's SQLite file, which one process at a time may open.

Writes reach the operating system at once and the disk now and then (WAL, synchronous=NORMAL), at
some 10 microseconds each. A killed process therefore loses none of them, a power loss perhaps those
since the last `flush`. Waiting for the disk would delay all other calls by a millisecond or more,
twice per call.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.remote.sqlite_file import prepare_database, put_on_disk
from engines.remote.usage_totals import COUNT_NAMES, Account, UsageTotals
from envs.errors import StoreError

SCHEMA_VERSION = 1

_SCHEMA = f"""
CREATE TABLE reservations (
    id INTEGER PRIMARY KEY, purpose TEXT NOT NULL, model TEXT NOT NULL, worst_nusd INTEGER);
CREATE TABLE tallies (
    purpose TEXT NOT NULL, model TEXT NOT NULL,
    {", ".join(f"{count} INTEGER NOT NULL" for count in COUNT_NAMES)},
    PRIMARY KEY (purpose, model)) WITHOUT ROWID;
"""
_SET_TOTALS = f"INSERT OR REPLACE INTO tallies VALUES (?, ?{', ?' * len(COUNT_NAMES)})"


class LedgerFile:
    """The calls under way, and the totals of those that ended, by account.

    Args:
        path: None keeps all in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        with _errors_named(path):
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=0.1)
            try:
                # Nobody else may have it open: two processes would each spend the whole budget.
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                do = "use the release that made the run, or start a new run"
                prepare_database(self._db, _SCHEMA, SCHEMA_VERSION, path, do)
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Close the file; then other processes may open it."""
        self._db.close()

    def flush(self) -> None:
        """Wait until all that was recorded is on disk."""
        with _errors_named(self._path):
            put_on_disk(self._db, SCHEMA_VERSION)

    def load(self) -> dict[Account, UsageTotals]:
        """Read earlier processes' totals; calls that they left under way count as uncertain."""
        with self._transaction():
            rows = self._db.execute("SELECT * FROM tallies").fetchall()
            accounts = {Account(row[0], row[1]): UsageTotals(*row[2:]) for row in rows}
            left_open = self._db.execute("SELECT purpose, model, worst_nusd FROM reservations")
            for purpose, model, worst_nusd in left_open.fetchall():
                account = Account(purpose, model)
                totals = accounts.get(account, UsageTotals()) + UsageTotals.uncertain(worst_nusd)
                accounts[account] = totals
                self._set_totals(account, totals)
            self._db.execute("DELETE FROM reservations")
        return accounts

    def add_reservation(self, id: int, account: Account, worst_nusd: int | None) -> None:
        """Record that a call is about to be made."""
        with _errors_named(self._path):
            self._db.execute(
                "INSERT INTO reservations VALUES (?, ?, ?, ?)",
                (id, account.purpose, account.model, worst_nusd),
            )

    def end_reservation(self, id: int, account: Account, totals: UsageTotals) -> None:
        """Remove a call under way and record its account's new totals."""
        with self._transaction():
            self._db.execute("DELETE FROM reservations WHERE id = ?", (id,))
            self._set_totals(account, totals)

    def set_totals(self, account: Account, totals: UsageTotals) -> None:
        """Record an account's new totals."""
        with _errors_named(self._path):
            self._set_totals(account, totals)

    def _set_totals(self, account: Account, totals: UsageTotals) -> None:
        counts = (int(getattr(totals, count)) for count in COUNT_NAMES)
        self._db.execute(_SET_TOTALS, (account.purpose, account.model, *counts))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Write all of the block or nothing."""
        with _errors_named(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")


@contextmanager
def _errors_named(path: Path | None) -> Iterator[None]:
    """Turn SQLite's errors into ours, with the file's name."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            raise StoreError(
                f"the ledger {path} is open in another process, and a run has one: wait until that "
                "process ends, or stop it."
            ) from error
        raise StoreError(
            f"SQLite failed on the ledger {path} ({error}): see whether the disk is full, and "
            "whether the file may be read and written and is a ledger."
        ) from error
