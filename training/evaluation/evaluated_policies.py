"""Reads the policies of finished evaluations back from disk, so that they can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envs.errors import ConfigError
from training.evaluation.measures import Measures
from training.storage.run_files import CONFIG, MEASURES, SUMMARY, TRAINED, read_result
from training.storage.run_options import CALL_OPTIONS, read_config, with_defaults

_MUST_AGREE = (
    *("seed", "judge", "env.families", "env.max_turns", "env.order", "env.difficulty"),
    *("evaluation.both_seats", "evaluation.episodes"),
)
"""Options that decide scenarios, seats, seeds and scores, so that pairs need the same ones."""

_PARTNER_MUST_AGREE = ("partner.model", "partner.checkpoint")
"""Options that must agree if both evaluations have that partner."""

_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class EvaluatedPolicy:
    """A policy of a finished evaluation, with its metrics.

    Attributes:
        config: the evaluation's options.
        measures: partner -> scenario id -> metrics.
        episodes: partner -> {"played", "unscored"}.
        cost_usd: cost of the evaluation's API calls; None if a price is unknown.
        uncertain_usd: what the calls may have cost at most beyond that.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    measures: Mapping[str, Mapping[str, Measures]]
    episodes: Mapping[str, Mapping[str, int]]
    cost_usd: float | None
    uncertain_usd: float


def read_evaluations(folders: Sequence[Path]) -> list[EvaluatedPolicy]:
    """Read the trained policy of each evaluation; policies with equal names are numbered.

    Raises:
        ConfigError: there are fewer than two, one is not finished, or one was played with other
            options than the first.
    """
    if len(folders) < 2:
        raise ConfigError(
            f"Got {len(folders)} evaluation, expected at least 2 to compare; give their folders, "
            "the baseline first."
        )
    policies = [replace(read_policies(folder)[TRAINED], name=_name(folder)) for folder in folders]
    for other in policies[1:]:
        _check_same_options(policies[0], other)
    names = [policy.name for policy in policies]
    return [
        replace(policy, name=f"{policy.name} ({n})") if names.count(policy.name) > 1 else policy
        for n, policy in enumerate(policies, start=1)
    ]


def read_policies(folder: Path) -> dict[str, EvaluatedPolicy]:
    """Read all policies of a finished evaluation or training run, by name, the baseline first.

    Raises:
        ConfigError: it is not finished.
        DataError: its results were cut or changed.
    """
    folder = folder.resolve()
    for name in (CONFIG, SUMMARY, MEASURES):
        if not (folder / name).is_file():
            raise ConfigError(
                f"{folder} has no {name}, so it is no finished evaluation; finish it with "
                "resume=FOLDER, or give another folder."
            )
    config = read_config(folder / CONFIG)
    summary, policies = read_result(folder, SUMMARY), read_result(folder, MEASURES)
    api = summary.get("api") or {}
    return {
        name: EvaluatedPolicy(
            name=name,
            folder=folder,
            config=config,
            measures={partner: _with_nan(found) for partner, found in measures.items()},
            episodes=summary["episodes"].get(name, {}),
            cost_usd=None if api.get("unknown_price_calls") else float(api.get("settled_usd", 0)),
            uncertain_usd=float(api.get("uncertain_usd", 0)),
        )
        for name, measures in policies.items()
    }


def _with_nan(by_scenario: Mapping[str, Mapping[str, float | None]]) -> dict[str, Measures]:
    """Turn JSON's null back into NaN."""
    return {
        scenario_id: {name: _NAN if x is None else float(x) for name, x in measures.items()}
        for scenario_id, measures in by_scenario.items()
    }


def _name(folder: Path) -> str:
    """A name for the evaluated policy: its model, or its run and checkpoint."""
    folder = folder.resolve()
    policy = read_config(folder / CONFIG)["policy"]
    if policy.get("model"):
        return str(policy["model"]["name"])
    path = Path(policy["name"])
    if len(path.parts) < 2:  # a run's own policy
        return folder.name
    return f"{path.parents[1].name}/{path.name}" if path.name.isdigit() else path.name


def _check_same_options(first: EvaluatedPolicy, other: EvaluatedPolicy) -> None:
    ours, theirs = _material_options(first), _material_options(other)
    prefixes = _MUST_AGREE + tuple(
        name for name in _PARTNER_MUST_AGREE if all(f"{name}.name" in c for c in (ours, theirs))
    )
    for option in dict.fromkeys((*ours, *theirs)):
        if ours.get(option) != theirs.get(option) and f"{option}.".startswith(
            tuple(f"{prefix}." for prefix in prefixes)
        ):
            raise ConfigError(
                f"{first.folder} was played with {option}={ours.get(option)} and {other.folder} "
                f"with {theirs.get(option)}, so their episodes are not pairs; evaluate both with "
                "the same options."
            )


def _material_options(policy: EvaluatedPolicy) -> dict[str, Any]:
    """The policy's options by dotted name, without those that only say how models are called."""
    return {
        name: value
        for name, value in with_defaults(policy.config).items()
        if name.split(".")[-1] not in CALL_OPTIONS
    }
