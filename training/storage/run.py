"""A run's folder: create it, finish iterations in it, and resume it after a stop.

Iteration 0 is the behaviour-cloned policy; training iterations count from 1. `run_files` names
what lies in the folder.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import yaml  # type: ignore[import-untyped]

from envs.errors import BudgetError, ConfigError, OutageError, StoreError
from envs.types import Scenario
from training.storage.files import flush, make_folder, part_of, to_json, write_text
from training.storage.leftovers import remove_leftovers, remove_parts
from training.storage.run_files import (
    CHECKPOINTS,
    COMMIT,
    CONFIG,
    LATEST,
    MEASURES,
    METRICS,
    STORE,
    SUMMARY,
    digest_of,
    read_metrics_file,
)
from training.storage.run_options import material_differences, read_config
from training.storage.store import Store

log = logging.getLogger(__name__)

_TIMES = "wall_s"
"""The step in the store with the seconds of one process; numbered by process, not iteration."""


class Run:
    """One run's folder and its store, open for writing by one process at a time."""

    def __init__(self, folder: Path, scenario_of: Callable[[str], Scenario] | None) -> None:
        self.folder = folder
        self._latest_before: str | None = None
        self.store = Store(folder / STORE, scenario_of)
        self._closing = ExitStack()
        self._closing.callback(self.store.close)

    @classmethod
    def open(
        cls, config: Mapping[str, Any], scenario_of: Callable[[str], Scenario] | None = None
    ) -> Self:
        """Resume the run that `config["resume"]` names, or create one in `config["output_root"]`.

        Raises:
            ConfigError: see `create` and `resume`.
            StoreError: another process writes to the run.
        """
        if config.get("resume"):
            return cls.resume(Path(config["resume"]), config, scenario_of)
        return cls.create(Path(config["output_root"]), config, scenario_of)

    @classmethod
    def create(
        cls,
        output_root: Path,
        config: Mapping[str, Any],
        scenario_of: Callable[[str], Scenario] | None = None,
    ) -> Self:
        """Create a folder named by the time, and point the link `latest` beside it at it.

        What killed processes have left in `output_root` is removed.

        Raises:
            ConfigError: the folder cannot be made.
            DiskError: its first file cannot be written.
        """
        try:
            folder = _new_folder(output_root)
            (folder / CHECKPOINTS).mkdir()
            flush(output_root)  # a folder without a name on disk is lost with all that is in it
        except OSError as error:
            raise ConfigError(
                f"no run can be made in {output_root} ({error.strerror}: {error.filename}): set "
                "output_root to a folder that you may write to."
            ) from error
        remove_leftovers(output_root)
        write_text(folder / CONFIG, yaml.safe_dump(dict(config), sort_keys=False))
        run = cls(folder, scenario_of)
        run._become_latest()
        return run

    @classmethod
    def resume(
        cls,
        folder: Path,
        config: Mapping[str, Any],
        scenario_of: Callable[[str], Scenario] | None = None,
    ) -> Self:
        """Open an existing run and continue it.

        Args:
            config: must equal the run's own config.yaml, except for options that do not change
                results (`run_options.IMMATERIAL_OPTIONS` and `CALL_OPTIONS`).

        Raises:
            ConfigError: the folder is no run, or the configuration differs; the message lists how.
            StoreError: the store was emptied, or another process writes to it.
        """
        folder = folder.resolve()
        for name in (CONFIG, STORE):
            if not (folder / name).is_file():
                raise ConfigError(
                    f"{folder} is not a run, for it has no {name}: set resume to the folder of a "
                    "run, such as outputs/latest."
                )
        differences = material_differences(read_config(folder / CONFIG), config)
        if differences:
            raise ConfigError(
                f"the run in {folder} was started with other options ({'; '.join(differences)}): "
                "resume it with the same ones, or start a new run."
            )
        if not (folder / STORE).stat().st_size and any((folder / CHECKPOINTS).glob("[0-9]*")):
            raise StoreError(
                f"{folder / STORE} is empty, though the run has checkpoints: all that was played "
                "is gone from it. Bring back a copy of the file, or start a new run."
            )
        run = cls(folder, scenario_of)
        remove_parts(folder)
        try:
            run._repair_metrics()
        except BaseException:
            run.close()
            raise
        return run

    def close(self) -> None:
        """Close what `on_close` added, last added first, then the store."""
        self._closing.close()

    def on_close(self, close: Callable[[], object]) -> None:
        """Register a function that `close` calls."""
        self._closing.callback(close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is not None:  # whoever shows it can say how to go on
                error.add_note(f"resume={self.folder}")
            # After the other two the run goes on: answers were paid for, or an endpoint comes back.
            if isinstance(error, Exception) and not isinstance(error, BudgetError | OutageError):
                self._give_latest_back()
        finally:
            self.close()

    def _become_latest(self) -> None:
        """Point `latest` here; a run goes on without a link that cannot be made."""
        link = self.folder.parent / LATEST
        try:
            self._latest_before = os.readlink(link) if link.is_symlink() else None
            _point_to(link, self.folder.name)
        except OSError as error:
            log.warning(
                "%s cannot be pointed at %s (%s): name the run's folder itself.",
                *(link, self.folder, error.strerror),
            )

    def _give_latest_back(self) -> None:
        """Point `latest` where it was, if this run failed before it did anything."""
        link = self.folder.parent / LATEST
        with suppress(OSError, StoreError):
            done = self.store.waves() or set(self.store.step_names()) - {_TIMES}
            if done or os.readlink(link) != self.folder.name:
                return
            if self._latest_before is None:
                link.unlink()
            else:
                _point_to(link, self._latest_before)

    def checkpoint_folder(self, iteration: int) -> Path:
        """The folder of the checkpoint that iteration `iteration` ends with."""
        return self.folder / CHECKPOINTS / f"{iteration:04d}"

    def commit(
        self, iteration: int, metrics: Mapping[str, object], save: Callable[[Path], object]
    ) -> None:
        """Finish an iteration: write its checkpoint, then its metrics, then mark it as finished.

        Args:
            metrics: the iteration's line in metrics.jsonl, without its number.
            save: writes the checkpoint into the folder that is its argument.
        """
        save(self.checkpoint_folder(iteration))
        self.append_metrics({**metrics, "iteration": iteration})
        self.store.set_step(iteration, COMMIT, {})

    def last_committed(self) -> int | None:
        """The number of the last finished iteration; None if iteration 0 is not finished."""
        return max(self.store.steps(COMMIT), default=None)

    def latest_checkpoint(self) -> Path | None:
        """The folder of the last finished checkpoint; None if iteration 0 is not finished."""
        last = self.last_committed()
        return None if last is None else self.checkpoint_folder(last)

    def remaining_iterations(self, n: int) -> range:
        """The training iterations, of 1..n, that are not finished yet."""
        return range((self.last_committed() or 0) + 1, n + 1)

    @cached_property
    def _earlier_times(self) -> list[Mapping[str, float]]:
        """The seconds of each process before this one."""
        return list(self.store.results(_TIMES).values())

    def keep_times(self, wall_s: Mapping[str, float]) -> None:
        """Keep the seconds that this process has spent so far, by kind of work."""
        self.store.set_step(len(self._earlier_times), _TIMES, dict(wall_s))

    def times(self, wall_s: Mapping[str, float]) -> dict[str, float]:
        """The seconds that all processes of the run have spent, of which this one `wall_s`."""
        total: dict[str, float] = {}
        for spent in (*self._earlier_times, wall_s):
            for name, seconds in spent.items():
                total[name] = total.get(name, 0.0) + seconds
        return total

    def metrics(self) -> list[dict[str, Any]]:
        """The records of all iterations so far, ascending."""
        return list(self.store.results(METRICS).values())

    def append_metrics(self, record: Mapping[str, object]) -> None:
        """Add a record to the store and metrics.jsonl, replacing one of the same "iteration"."""
        self.store.set_step(_iteration(record), METRICS, json.loads(to_json(record)))
        write_text(self.folder / METRICS, self._metrics_text())

    def write_measures(self, measures: Mapping[str, object]) -> None:
        """Write measures.json: {POLICY: {PARTNER: {SCENARIO: {METRIC: number}}}}."""
        self._write_result(MEASURES, to_json(measures) + "\n")

    def write_summary(self, summary: Mapping[str, object]) -> None:
        """Write summary.json; docs/design.md has its format."""
        self._write_result(SUMMARY, to_json(summary, indent=2) + "\n")

    def _write_result(self, name: str, text: str) -> None:
        # The digest first: a file that is missing or older after a kill is to be written again.
        self.store.set_step(0, name, {"sha256": digest_of(text.encode())})
        write_text(self.folder / name, text)

    def _metrics_text(self) -> str:
        return "".join(f"{to_json(record)}\n" for record in self.metrics())

    def _repair_metrics(self) -> None:
        """Make the store and metrics.jsonl the same: the store decides, if it has the records."""
        file, kept = self.folder / METRICS, self.store.results(METRICS)
        if not kept:  # of a release whose stores had none
            for record in read_metrics_file(self.folder):
                self.store.set_step(_iteration(record), METRICS, record)
        elif not file.is_file() or file.read_bytes() != self._metrics_text().encode():
            log.warning("%s was missing, cut or changed; it is written anew from the store.", file)
            write_text(file, self._metrics_text())


def _iteration(record: Mapping[str, Any]) -> int:
    return int(record["iteration"])


def _new_folder(output_root: Path) -> Path:
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    name, again = stamp, 1
    make_folder(output_root)
    while True:
        try:
            (output_root / name).mkdir()
        except FileExistsError:
            again += 1
            name = f"{stamp}_{again}"
        else:
            return (output_root / name).resolve()


def _point_to(link: Path, target: str) -> None:
    """Create a symbolic link, or redirect an existing one, atomically."""
    part = part_of(link)
    try:
        part.symlink_to(target, target_is_directory=True)
        os.replace(part, link)
        flush(link.parent)
    finally:
        part.unlink(missing_ok=True)
