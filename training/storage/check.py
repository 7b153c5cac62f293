"""Checks all that a run's folder holds: what is as it was written, and what isn't."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from envs.errors import CheckpointError, ConfigError, DataError, StoreError
from training.storage.database import checked_rows, open_for_reading, part_keys, reading
from training.storage.digests import PARTS
from training.storage.files import to_json
from training.storage.manifest import verify_checkpoint
from training.storage.run_files import (
    CHECKPOINTS,
    COMMIT,
    CONFIG,
    MEASURES,
    METRICS,
    STORE,
    SUMMARY,
    metrics_in,
    result_fault,
)
from training.storage.run_options import read_config
from training.storage.store import Store


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check of one thing found.

    Attributes:
        what: the thing, such as "store.sqlite, table episodes".
        said: what is wrong with it, or how much of it is right.
        is_right: whether nothing is wrong.
    """

    what: str
    said: str
    is_right: bool = True


def check_run(folder: Path) -> Iterator[Finding]:
    """Check a run's options, store, results and checkpoints, also while it continues.

    Raises:
        ConfigError: the folder is not a run.
    """
    folder = folder.resolve()
    if not (folder / CONFIG).exists() and not (folder / STORE).exists():
        raise ConfigError(
            f"{folder} is not a run, for it has neither {CONFIG} nor {STORE}: name the folder of a "
            "run, such as outputs/latest."
        )
    yield _options(folder)
    yield from _database(folder / STORE)
    try:
        with Store.read_only(folder / STORE) as store:
            yield from _results(store, folder)
            committed = store.steps(COMMIT)
    except StoreError:  # which was told above
        committed = []
    yield from _checkpoints(folder / CHECKPOINTS, committed)


def _options(folder: Path) -> Finding:
    try:
        count = len(read_config(folder / CONFIG))
    except (ConfigError, OSError) as error:
        return Finding(CONFIG, str(error), is_right=False)
    return Finding(CONFIG, f"{count} sections and options")


def _database(path: Path) -> Iterator[Finding]:
    """Check each table by its digests, and the file by SQLite's own means."""
    has_digests = True
    try:
        with Store.read_only(path) as store:
            has_digests = store.has_digests
        with closing(open_for_reading(path)) as db:
            with reading(path, "the file"):
                faults = [row[0] for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
                faults += [
                    f"a row of {row[0]} refers to one of {row[2]} that is not there"
                    for row in db.execute("PRAGMA foreign_key_check")
                ]
            yield Finding(STORE, "; ".join(faults) or "SQLite finds no fault", not faults)
    except StoreError as error:
        yield Finding(STORE, str(error), is_right=False)
    for table in PARTS:
        yield _table(path, table, has_digests=has_digests)


def _table(path: Path, table: str, *, has_digests: bool) -> Finding:
    what, faults, count = f"{STORE}, table {table}", [], 0
    try:
        with closing(open_for_reading(path)) as db:
            for key in part_keys(db, path, table):
                try:
                    count += len(checked_rows(db, path, table, key))
                except StoreError as error:
                    faults.append(str(error))
    except StoreError as error:
        faults.append(str(error))
    if faults:
        more = f" And {len(faults) - 1} more parts." if len(faults) > 1 else ""
        return Finding(what, faults[0] + more, is_right=False)
    checked = "as written" if has_digests else "readable; an earlier release wrote no digests"
    return Finding(what, f"{count} rows, {checked}")


def _results(store: Store, folder: Path) -> Iterator[Finding]:
    yield _metrics(store, folder)
    for name in (SUMMARY, MEASURES):
        fault = result_fault(store, folder, name)
        if fault is not None or (folder / name).is_file():
            yield Finding(name, fault or "as written", fault is None)


def _metrics(store: Store, folder: Path) -> Finding:
    file = folder / METRICS
    try:
        records = metrics_in(store, folder)
    except DataError as error:
        return Finding(METRICS, str(error), is_right=False)
    text, found = "".join(f"{to_json(record)}\n" for record in records), b""
    with suppress(FileNotFoundError):
        found = file.read_bytes()
    if store.results(METRICS) and found != text.encode():
        return Finding(
            METRICS,
            f"{file} is missing, cut or changed; resume={folder} writes it anew from the store.",
            is_right=False,
        )
    return Finding(METRICS, f"{len(records)} iterations")


def _checkpoints(folder: Path, committed: list[int]) -> Iterator[Finding]:
    """Verify the checkpoints that are there; the run itself needs its first and its last one."""
    needed = {f"{iteration:04d}" for iteration in (*committed[:1], *committed[-1:])}
    found = {path.name for path in folder.glob("[0-9]*")}
    for name in sorted(needed | found):
        what = f"{CHECKPOINTS}/{name}"
        try:
            verify_checkpoint(folder / name)
        except (CheckpointError, OSError) as error:
            yield Finding(what, str(error), is_right=False)
        else:
            yield Finding(what, "every file has its SHA-256")
