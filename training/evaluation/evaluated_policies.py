"""Reads the policies of finished evaluations back from disk, so that they can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envs.errors import ConfigError
from training.config.play import BUILT_IN_POLICIES
from training.evaluation.measures import Measures
from training.storage.run_files import (
    CHECKPOINTS,
    CONFIG,
    MEASURES,
    SUMMARY,
    TRAINED,
    read_result,
)
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
    """Read the trained policy of each evaluation, under names that differ.

    Raises:
        ConfigError: there are fewer than two, one is not finished, or one was played with other
            options than the first.
    """
    if len(folders) < 2:
        raise ConfigError(
            f"Got {len(folders)} evaluation, expected at least 2 to compare; give their folders, "
            "the baseline first."
        )
    policies = [read_policies(folder)[TRAINED] for folder in folders]
    for other in policies[1:]:
        _check_same_options(policies[0], other)
    found = [policy_name(policy.folder, policy.config) for policy in policies]
    by_place = _distinct([each.said for each in found], [each.place for each in found])
    names = _distinct(by_place, range(1, len(by_place) + 1))
    return [replace(policy, name=name) for policy, name in zip(policies, names, strict=True)]


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


@dataclass(frozen=True, slots=True)
class PolicyName:
    """What people call an evaluated policy.

    Attributes:
        said: its method, seed, checkpoint and model; or the model alone.
        place: the folder of its run or of the model, which tells equal names apart.
    """

    said: str
    place: str


def policy_name(folder: Path, config: Mapping[str, Any]) -> PolicyName:
    """Name the policy of an evaluation, or the one that a run has trained.

    Args:
        folder: of the evaluation or the run.
        config: its options.
    """
    policy = config["policy"]
    if policy.get("model"):
        return PolicyName(str(policy["model"]["name"]), folder.name)
    if any((folder / CHECKPOINTS).glob("[0-9]*")):
        return PolicyName(_trained_name(config, None), folder.name)
    path = Path(policy["name"])
    if not path.name.isdigit() or len(path.parts) < 3:
        return PolicyName(path.name, path.parent.name)
    run = path.parents[1]
    if not (run / CONFIG).is_file():  # it was moved or deleted
        return PolicyName(f"{run.name}/{path.name}", folder.name)
    return PolicyName(_trained_name(read_config(run / CONFIG), int(path.name)), run.name)


def _trained_name(config: Mapping[str, Any], checkpoint: int | None) -> str:
    """Name a policy that a run has trained, by the run's options."""
    method = config.get("name") or config.get("objective", {}).get("name", "a run")
    model = Path(config["policy"]["name"]).name
    words = f"{method} seed {config['seed']}"
    if checkpoint == 0:
        words = f"clone of {words}"
    elif checkpoint is not None:
        words += f" checkpoint {checkpoint}"
    return words if model in BUILT_IN_POLICIES else f"{words} ({model})"


def _distinct(names: Sequence[str], more: Sequence[object]) -> list[str]:
    """The names; equal ones with what is said of them more."""
    return [
        f"{name} ({added})" if names.count(name) > 1 else name
        for name, added in zip(names, more, strict=True)
    ]


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
