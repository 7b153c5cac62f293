"""Small records of finished training runs: their options and their metrics in each scenario.

Tables of methods are made from these records. A record is small enough to be committed, so tables
can be made again without the runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import isnan
from pathlib import Path
from typing import Any

from envs.errors import DataError, in_one_line
from training.evaluation.evaluated_policies import read_policies
from training.storage.files import read_json, to_json, write_text
from training.storage.run_files import BC, SUMMARY, TRAINED, read_metrics, read_result

KEPT = (
    "goal",
    "relationship",
    "partner_goal",
    "joint_welfare",
    "deal_rate",
    "words_per_turn",
    "invalid_rate",
)
"""The metrics that a record keeps for each scenario; older records have no `invalid_rate`."""

_DIGITS = 2
"""Decimal places of a scenario's metric; a mean over hundreds of scenarios is more precise."""

_SUMMARY_DIGITS = 4
_BC_FOLDER = "clones"

Table = Mapping[str, Mapping[str, list[float | None]]]
"""Partner -> metric -> one value per scenario, in the order of `Trial.scenarios`."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One training run of a method with one seed.

    Attributes:
        config: all options of the run.
        scenarios: ids of the held-out scenarios.
        values: policy -> `Table`, for the trained policy and, if the run has one, bc.
        sampled_tokens: tokens that models sampled while collecting data, over all iterations.
        update_steps: optimiser steps, over all iterations.
        examples: branch groups that were trained on, over all iterations.
        stopped_early: updates that ended early, because the policy drifted too far.
        wall_s: seconds that the whole run took.
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
    """Make the record of a finished run.

    Raises:
        ConfigError: the run is not finished.
        DataError: its results were cut or changed.
    """
    policies = read_policies(folder)
    config = policies[TRAINED].config
    lines = [line for line in read_metrics(folder) if line["iteration"] > 0]
    updates = [line["update"] for line in lines]
    summary = read_result(folder, SUMMARY)
    scenarios = sorted({s for c in policies.values() for t in c.measures.values() for s in t})
    return Trial(
        method=str(config.get("name") or name_from_parts(config)),
        seed=int(config["seed"]),
        config=config,
        scenarios=tuple(scenarios),
        values={
            name: {
                partner: {metric: [_cell(table, s, metric) for s in scenarios] for metric in KEPT}
                for partner, table in policies[name].measures.items()
            }
            for name in (BC, TRAINED)
            if name in policies
        },
        sampled_tokens=sum(int(line.get("sampled_tokens", 0)) for line in lines),
        update_steps=sum(int(update.get("steps", 0)) for update in updates),
        examples=sum(int(line["examples"]) for line in lines),
        stopped_early=sum(int(update.get("stopped_early", 0)) for update in updates),
        wall_s=float(sum(summary["wall_s"].values())),
    )


def name_from_parts(config: Mapping[str, Any]) -> str:
    """Name a method that has no name by its objective, pairing and critics."""
    critics = "+".join(name for name, weight in config["critic"]["weights"].items() if weight)
    return f"{config['objective']['name']} ({config['pairing']['name']}, {critics})"


def write_trial(trial: Trial, file: Path, *, provenance: Mapping[str, Any]) -> None:
    """Write a record to a file, replacing an older one.

    Metrics of bc, which all methods share, are written once, in a file named by their digest.

    Args:
        provenance: further fields: the command, the commits and the run's summary.
    """
    (file.parent / _BC_FOLDER).mkdir(parents=True, exist_ok=True)
    values, digest = dict(trial.values), None
    if BC in values:
        text = to_json(values.pop(BC)) + "\n"
        digest = sha256(text.encode()).hexdigest()[:16]
        write_text(_bc_file(file, digest), text)
    fields = fields_of(trial) | {"values": values}
    content = _rounded(provenance) | {"clone": digest} | fields
    write_text(file, to_json(content) + "\n")


def _bc_file(file: Path, digest: str) -> Path:
    return file.parent / _BC_FOLDER / f"{digest}.json"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _SUMMARY_DIGITS)
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def read_trial(file: Path) -> Trial:
    """Read a record that `write_trial` wrote, without the provenance.

    Raises:
        DataError: the file is not a record.
    """
    try:
        record = read_json(file)
        fields = {name: record[name] for name in Trial.__slots__}
        if record["clone"]:
            fields["values"][BC] = read_json(_bc_file(file, record["clone"]))
        fields["scenarios"] = tuple(fields["scenarios"])
        if not all(isinstance(scenario, str) for scenario in fields["scenarios"]):
            raise TypeError("its scenarios are no names")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{file} is no record of a run ({in_one_line(error)}); delete it, so that it is made "
            "again."
        ) from error
    return Trial(**fields)


def fields_of(trial: Trial) -> dict[str, Any]:
    """A record's fields by name; shallow, unlike `dataclasses.asdict`."""
    return {name: getattr(trial, name) for name in Trial.__slots__}


def _cell(table: Mapping[str, Mapping[str, float]], scenario: str, metric: str) -> float | None:
    value = table.get(scenario, {}).get(metric)
    return None if value is None or isnan(value) else round(value, _DIGITS)
