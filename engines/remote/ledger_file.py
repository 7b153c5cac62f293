"""The ledger's SQLite file, which one process at a time has open and the next goes on with.

Writes go to the operating system at once and to the disk now and then (WAL, synchronous=NORMAL), at
some 10 microseconds each: a killed process loses none, a power cut perhaps the last ones. Waiting
for the disk would hold up all other calls for a millisecond or more, twice per call.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.remote.schema import set_up
from engines.remote.tallies import COUNTS, Account, Tally
from envs.errors import StoreError

SCHEMA_VERSION = 1

_SCHEMA = f"""
CREATE TABLE reservations (
    id INTEGER PRIMARY KEY, purpose TEXT NOT NULL, model TEXT NOT NULL, worst_nusd INTEGER);
CREATE TABLE tallies (
    purpose TEXT NOT NULL, model TEXT NOT NULL,
    {", ".join(f"{count} INTEGER NOT NULL" for count in COUNTS)},
    PRIMARY KEY (purpose, model)) WITHOUT ROWID;
"""
_SET_TALLY = f"INSERT OR REPLACE INTO tallies VALUES (?, ?{', ?' * len(COUNTS)})"


class LedgerFile:
    """The calls under way, and the tallies of those that ended.

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
                set_up(self._db, _SCHEMA, SCHEMA_VERSION, path, do)
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Close the file and let others have it."""
        self._db.close()

    def load(self) -> dict[Account, Tally]:
        """Read what earlier processes left; what was under way when they ended is uncertain now."""
        with self._transaction():
            rows = self._db.execute("SELECT * FROM tallies").fetchall()
            tallies = {Account(row[0], row[1]): Tally(*row[2:]) for row in rows}
            left_open = self._db.execute("SELECT purpose, model, worst_nusd FROM reservations")
            for purpose, model, worst_nusd in left_open.fetchall():
                account = Account(purpose, model)
                tallies[account] = tallies.get(account, Tally()) + Tally.uncertain(worst_nusd)
                self._set_tally(account, tallies[account])
            self._db.execute("DELETE FROM reservations")
        return tallies

    def add_reservation(self, id: int, account: Account, worst_nusd: int | None) -> None:
        """Write down that a call is about to be made."""
        with _errors_named(self._path):
            self._db.execute(
                "INSERT INTO reservations VALUES (?, ?, ?, ?)",
                (id, account.purpose, account.model, worst_nusd),
            )

    def end_reservation(self, id: int, account: Account, tally: Tally) -> None:
        """Replace a call under way by its account's new tally."""
        with self._transaction():
            self._db.execute("DELETE FROM reservations WHERE id = ?", (id,))
            self._set_tally(account, tally)

    def set_tally(self, account: Account, tally: Tally) -> None:
        """Write down an account's new tally."""
        with _errors_named(self._path):
            self._set_tally(account, tally)

    def _set_tally(self, account: Account, tally: Tally) -> None:
        counts = (int(getattr(tally, count)) for count in COUNTS)
        self._db.execute(_SET_TALLY, (account.purpose, account.model, *counts))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of the block or nothing of it."""
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
