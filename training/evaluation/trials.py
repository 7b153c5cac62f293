"""One training run as a small record: what was run, and what came of it in each scenario.

Records are what tables of methods are made from. They are small enough to be committed, so that a
table can be made again without the runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import isnan
from pathlib import Path
from typing import Any

from envs.errors import DataError
from training.evaluation.finished import read_policies
from training.storage.files import read_json, to_json, write_text
from training.storage.run import CLONE, SUMMARY, TRAINED, read_metrics

KEPT = ("goal", "relationship", "partner_goal", "joint_welfare", "deal_rate", "words_per_turn")
"""The metrics that are kept for each scenario."""

_DIGITS = 2
"""Of a scenario's metric; a mean over hundreds is known far better."""

_SUMMARY_DIGITS = 4
_CLONES = "clones"

Table = Mapping[str, Mapping[str, list[float | None]]]
"""Partner -> metric -> one value a scenario, in the order of the record's scenarios."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a method with one seed.

    Attributes:
        config: all options of the run.
        scenarios: ids of the held-out scenarios.
        values: policy -> `Table`; the clone's are there where there is one.
        sampled_tokens: by models while data was collected, all iterations together.
        update_steps: optimiser steps, likewise.
        examples: branch groups that were learned from, likewise.
        wall_s: seconds of the whole run.
    """

    method: str
    seed: int
    config: Mapping[str, Any]
    scenarios: tuple[str, ...]
    values: Mapping[str, Table]
    sampled_tokens: int
    update_steps: int
    examples: int
    stopped_early: int
    wall_s: float


def read_run(folder: Path) -> Trial:
    """A finished run's record.

    Raises:
        ConfigError: it is not finished.
    """
    policies = read_policies(folder)
    config = policies[TRAINED].config
    lines = [line for line in read_metrics(folder) if line["iteration"] > 0]
    updates = [line["update"] for line in lines]
    summary = read_json(folder / SUMMARY)
    scenarios = sorted({s for c in policies.values() for t in c.measures.values() for s in t})
    return Trial(
        method=str(config.get("name") or made_of(config)),
        seed=int(config["seed"]),
        config=config,
        scenarios=tuple(scenarios),
        values={
            name: {
                partner: {metric: [_cell(table, s, metric) for s in scenarios] for metric in KEPT}
                for partner, table in policies[name].measures.items()
            }
            for name in (CLONE, TRAINED)
            if name in policies
        },
        sampled_tokens=sum(int(line.get("sampled_tokens", 0)) for line in lines),
        update_steps=sum(int(update.get("steps", 0)) for update in updates),
        examples=sum(int(line["examples"]) for line in lines),
        stopped_early=sum(int(update.get("stopped_early", 0)) for update in updates),
        wall_s=float(sum(summary["wall_s"].values())),
    )


def made_of(config: Mapping[str, Any]) -> str:
    """A method without a name by its parts."""
    critics = "+".join(name for name, weight in config["critic"]["weights"].items() if weight)
    return f"{config['objective']['name']} ({config['pairing']['name']}, {critics})"


def write_trial(trial: Trial, file: Path, *, provenance: Mapping[str, Any]) -> None:
    """Write a record, in place of an earlier one.

    What was measured of the clone is written once for all methods, under its digest.

    Args:
        provenance: where it is from: the command, the commits and the run's summary.
    """
    (file.parent / _CLONES).mkdir(parents=True, exist_ok=True)
    values, clone = dict(trial.values), None
    if CLONE in values:
        text = to_json(values.pop(CLONE)) + "\n"
        clone = sha256(text.encode()).hexdigest()[:16]
        write_text(_clone_file(file, clone), text)
    fields = fields_of(trial) | {"values": values}
    content = _rounded(provenance) | {"clone": clone} | fields
    write_text(file, to_json(content) + "\n")


def _clone_file(file: Path, digest: str) -> Path:
    return file.parent / _CLONES / f"{digest}.json"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _SUMMARY_DIGITS)
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def read_trial(file: Path) -> Trial:
    """Inverse of `write_trial`, but for the provenance.

    Raises:
        DataError: the file is no record.
    """
    try:
        record = read_json(file)
        fields = {name: record[name] for name in Trial.__slots__}
        if record["clone"]:
            fields["values"][CLONE] = read_json(_clone_file(file, record["clone"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file} is no record of a run ({error!r}); delete it, so that it is made again."
        ) from error
    return Trial(**fields | {"scenarios": tuple(fields["scenarios"])})


def fields_of(trial: Trial) -> dict[str, Any]:
    """The record's fields by name."""
    return {name: getattr(trial, name) for name in Trial.__slots__}


def _cell(table: Mapping[str, Mapping[str, float]], scenario: str, metric: str) -> float | None:
    value = table.get(scenario, {}).get(metric)
    return None if value is None or isnan(value) else round(value, _DIGITS)
