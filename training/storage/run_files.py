"""The names of the files in a run's folder, and readers for those that hold results.

config.yaml  store.sqlite  metrics.jsonl  measures.json  summary.json  report.html
checkpoints/NNNN/

The store decides: it has every line of metrics.jsonl, and a digest of the other two.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from envs.errors import DataError, in_one_line
from training.storage.files import parse_json
from training.storage.store import Store

CONFIG, STORE, METRICS, SUMMARY = "config.yaml", "store.sqlite", "metrics.jsonl", "summary.json"
MEASURES = "measures.json"
CHECKPOINTS, REPORT = "checkpoints", "report.html"

LATEST, CACHE = "latest", "cache"
"""Beside the runs' folders: a link to the newest run, and what runs share."""

BC, TRAINED = "bc", "final"
"""Names of two policies in measures.json and summary.json: behaviour-cloned, and trained."""

COMMIT = "commit"
"""The step in the store that marks an iteration as finished. METRICS is the step with its line;
SUMMARY and MEASURES, at iteration 0, have the digests of the files."""


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """A run's metrics: one record an iteration; empty before the first is finished.

    Raises:
        StoreError: the store cannot be read.
        DataError: the store was begun by an earlier release, and metrics.jsonl was cut or changed.
    """
    if not (folder / STORE).is_file():
        return read_metrics_file(folder)
    with Store.read_only(folder / STORE) as store:
        return metrics_in(store, folder)


def metrics_in(store: Store, folder: Path) -> list[dict[str, Any]]:
    """The same, from a store that is open."""
    found = list(store.results(METRICS).values()) or read_metrics_file(folder)
    if lacking := sorted(set(store.steps(COMMIT)) - {line["iteration"] for line in found}):
        raise DataError(
            f"{folder / METRICS} has no line for iteration {', '.join(map(str, lacking))}, which "
            "the run has finished: it was deleted or cut. Bring back a copy of the file."
        )
    return found


def read_metrics_file(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; none without the file.

    Raises:
        DataError: a line is no record of an iteration.
    """
    file, records = folder / METRICS, []
    if not file.exists():
        return []
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            record = parse_json(line)
            if type(record["iteration"]) is not int:
                raise TypeError("its iteration is no whole number")
        except (LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"Line {number} of {file} is no record of an iteration ({in_one_line(error)}): the "
                "file was cut or changed. Bring back a copy of it."
            ) from error
        records.append(record)
    return records


def read_result(folder: Path, name: str) -> dict[str, Any]:
    """Read a run's summary.json or measures.json.

    Raises:
        DataError: it is missing, cut or changed.
        StoreError: the store, which has its digest, cannot be read.
    """
    if (folder / STORE).is_file():
        with Store.read_only(folder / STORE) as store:
            fault = result_fault(store, folder, name)
    else:
        fault = result_fault(None, folder, name)
    if fault is not None:
        raise DataError(fault)
    return cast(dict[str, Any], parse_json((folder / name).read_bytes()))


def result_fault(store: Store | None, folder: Path, name: str) -> str | None:
    """What is wrong with a run's summary.json or measures.json, as a sentence.

    Args:
        store: the run's; None where there is only the file.

    Returns:
        None where nothing is wrong, or the run has not written the file yet.
    """
    file, again = folder / name, f"resume={folder} writes it again without playing anything again."
    written = cast(dict[str, str] | None, store.step(0, name)) if store is not None else None
    if not file.is_file():
        return f"{file} is missing, though the run wrote it: {again}" if written else None
    content = file.read_bytes()
    try:
        found = parse_json(content)
    except ValueError as error:
        return f"{file} is not JSON ({in_one_line(error)}): it was cut or changed; {again}"
    if not isinstance(found, dict):
        return f"{file} holds no object: it was changed; {again}"
    if written and written["sha256"] != digest_of(content):
        return f"{file} is not what the run wrote: it was changed; {again}"
    return None


def digest_of(content: bytes) -> str:
    """The SHA-256 of a file's content, in hex digits."""
    return sha256(content).hexdigest()
