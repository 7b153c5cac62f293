"""A run's folder: what is in it, what has been finished, and how it goes on after a stop.

    config.yaml  store.sqlite  metrics.jsonl  summary.json  checkpoints/NNNN/  report.html

Iteration 0 is the cloned policy; training iterations count from 1.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import yaml  # type: ignore[import-untyped]

from envs.errors import ConfigError
from envs.options import defaults
from envs.types import Scenario
from training.config import RunConfig
from training.storage.files import to_json, write_text
from training.storage.store import Store

CONFIG, STORE, METRICS, SUMMARY = "config.yaml", "store.sqlite", "metrics.jsonl", "summary.json"
MEASURES = "measures.json"
CHECKPOINTS, REPORT, LATEST = "checkpoints", "report.html", "latest"

CLONE, TRAINED = "bc", "final"
"""Policies of an evaluation, as measures and summary name them."""

IMMATERIAL = frozenset(
    {"name", "resume", "output_root", "iterations", "logger", "threads"}
    | {"api", "budget_usd", "max_calls", "dry_run"}
)
"""Options that may differ on resume: they change where, how long and how fast, but not what."""

OF_CALLS = ("timeout_s", "api_key_env", "input_usd_per_mtok", "output_usd_per_mtok")
"""Likewise, of every model behind an API."""

_COMMIT = "commit"
_ABSENT = object()


class Run:
    """The folder of one run, open for writing; one process at a time."""

    def __init__(self, folder: Path, scenario_of: Callable[[str], Scenario] | None) -> None:
        self.folder = folder
        self.store = Store(folder / STORE, scenario_of)
        self._closing = ExitStack()
        self._closing.callback(self.store.close)

    @classmethod
    def open(
        cls, config: Mapping[str, Any], scenario_of: Callable[[str], Scenario] | None = None
    ) -> Self:
        """Go on with the run that `config` names under "resume", or start one in its "output_root".

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
        """Make a new folder, named by the time, and let `latest` beside it point to it.

        Raises:
            ConfigError: the folder cannot be made.
        """
        try:
            folder = _new_folder(output_root)
            (folder / CHECKPOINTS).mkdir()
            write_text(folder / CONFIG, yaml.safe_dump(dict(config), sort_keys=False))
            _point_to(output_root / LATEST, folder.name)
        except OSError as error:
            raise ConfigError(
                f"no run can be made in {output_root} ({error.strerror}: {error.filename}): set "
                "output_root to a folder that you may write to."
            ) from error
        return cls(folder, scenario_of)

    @classmethod
    def resume(
        cls,
        folder: Path,
        config: Mapping[str, Any],
        scenario_of: Callable[[str], Scenario] | None = None,
    ) -> Self:
        """Open an existing run to go on with it.

        Args:
            config: must say what the run's own config.yaml says, but for `IMMATERIAL`.

        Raises:
            ConfigError: the folder is no run, or the configuration differs; the message lists how.
        """
        folder = folder.resolve()
        for name in (CONFIG, STORE):
            if not (folder / name).is_file():
                raise ConfigError(
                    f"{folder} is not a run, for it has no {name}: set resume to the folder of a "
                    "run, such as outputs/latest."
                )
        differences = _differences(read_config(folder / CONFIG), config)
        if differences:
            raise ConfigError(
                f"the run in {folder} was started with other options ({'; '.join(differences)}): "
                "resume it with the same ones, or start a new run."
            )
        return cls(folder, scenario_of)

    def close(self) -> None:
        """Let other processes write to the run; what was opened last is closed first."""
        self._closing.close()

    def on_close(self, close: Callable[[], object]) -> None:
        """Have something closed together with the run."""
        self._closing.callback(close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def checkpoint_folder(self, iteration: int) -> Path:
        """Where the policy after `iteration` is kept."""
        return self.folder / CHECKPOINTS / f"{iteration:04d}"

    def commit(
        self, iteration: int, metrics: Mapping[str, object], save: Callable[[Path], object]
    ) -> None:
        """Finish an iteration: checkpoint, then metrics, then the mark that both are there.

        Args:
            metrics: the iteration's line in metrics.jsonl, without its number.
            save: writes the checkpoint into the folder that it is given.
        """
        save(self.checkpoint_folder(iteration))
        self.append_metrics({**metrics, "iteration": iteration})
        self.store.set_step(iteration, _COMMIT, {})

    def last_committed(self) -> int | None:
        """The last finished iteration; None before the first policy."""
        return max(self.store.steps(_COMMIT), default=None)

    def latest_checkpoint(self) -> Path | None:
        """The checkpoint to go on from; None before the first policy."""
        last = self.last_committed()
        return None if last is None else self.checkpoint_folder(last)

    def remaining_iterations(self, n: int) -> range:
        """Those of the training iterations 1..n that are not finished."""
        return range((self.last_committed() or 0) + 1, n + 1)

    def append_metrics(self, record: Mapping[str, object]) -> None:
        """Write one line into metrics.jsonl, in place of an earlier one of the same "iteration"."""
        others = [r for r in read_metrics(self.folder) if r["iteration"] != record["iteration"]]
        lines = [to_json(r) for r in sorted([*others, record], key=_iteration)]
        write_text(self.folder / METRICS, "".join(f"{line}\n" for line in lines))

    def write_measures(self, measures: Mapping[str, object]) -> None:
        """Write measures.json, in place of an earlier one: {POLICY: {PARTNER: {SCENARIO: ...}}}."""
        write_text(self.folder / MEASURES, to_json(measures) + "\n")

    def write_summary(self, summary: Mapping[str, object]) -> None:
        """Write summary.json, in place of an earlier one."""
        write_text(self.folder / SUMMARY, to_json(summary, indent=2) + "\n")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, by iteration; none before the first is finished."""
    file = folder / METRICS
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _iteration(record: Mapping[str, Any]) -> int:
    return int(record["iteration"])


def _new_folder(output_root: Path) -> Path:
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    name, again = stamp, 1
    output_root.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            (output_root / name).mkdir()
        except FileExistsError:
            again += 1
            name = f"{stamp}_{again}"
        else:
            return (output_root / name).resolve()


def _point_to(link: Path, target: str) -> None:
    """Make or turn a symbolic link in one step."""
    part = link.with_name(f".{link.name}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(target, target_is_directory=True)
    os.replace(part, link)


def read_config(file: Path) -> dict[str, Any]:
    """The options in a run's config.yaml.

    Raises:
        ConfigError: they cannot be read.
    """
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not YAML ({error}): restore it, or start anew.") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{file} holds no options: restore it, or start a new run.")
    return config


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The dotted keys in which two configurations differ, with both values."""
    before, after = flat(old), flat(json.loads(to_json(new)))  # tuples as YAML reads them back
    later = defaults(RunConfig)
    shown = []
    for key in sorted({*before, *after}):
        was, now = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if was is _ABSENT and now in (None, later.get(key)):
            continue  # an option that there was not yet, and that is as it was without it
        first, *_, last = key.split(".") * 2
        if was != now and first not in IMMATERIAL and last not in OF_CALLS:
            shown.append(f"{key} was {_word(was)} and is {_word(now)}")
    return shown


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's options by their dotted names; those that it is older than have their defaults."""
    return defaults(RunConfig) | flat(config)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _word(value: object) -> str:
    return "not set" if value is _ABSENT else to_json(value)
