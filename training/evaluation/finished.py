"""The policies of finished evaluations, read back so that they can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envs.errors import ConfigError
from training.evaluation.measures import Measures
from training.storage.files import read_json
from training.storage.run import (
    CONFIG,
    MEASURES,
    OF_CALLS,
    SUMMARY,
    TRAINED,
    read_config,
    with_defaults,
)

_SAME = (
    *("seed", "judge", "env.families", "env.max_turns", "env.order", "env.difficulty"),
    *("evaluation.both_seats", "evaluation.episodes"),
)
"""Options that must agree, or scenarios, seats, seeds or scores are not the same."""

_SAME_PARTNER = ("partner.model", "partner.checkpoint")
"""Likewise, where both have one."""

_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class EvaluatedPolicy:
    """One policy that was evaluated.

    Attributes:
        measures: partner -> scenario id -> measures.
        episodes: partner -> {"played", "unscored"}.
        cost_usd: what the evaluation's calls to APIs cost; None where a price was not known.
        uncertain_usd: at most so much more.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    measures: Mapping[str, Mapping[str, Measures]]
    episodes: Mapping[str, Mapping[str, int]]
    cost_usd: float | None
    uncertain_usd: float


def read_evaluations(folders: Sequence[Path]) -> list[EvaluatedPolicy]:
    """The trained policies of finished evaluations, the names of equal ones numbered.

    Raises:
        ConfigError: fewer than two, or one is not finished or was not played like the first.
    """
    if len(folders) < 2:
        raise ConfigError(
            f"Got {len(folders)} evaluation, expected at least 2 to compare; give their folders, "
            "the baseline first."
        )
    found = [replace(read_policies(folder)[TRAINED], name=_name(folder)) for folder in folders]
    for other in found[1:]:
        _check_same(found[0], other)
    names = [contestant.name for contestant in found]
    return [
        replace(contestant, name=f"{contestant.name} ({n})")
        if names.count(contestant.name) > 1
        else contestant
        for n, contestant in enumerate(found, start=1)
    ]


def read_policies(folder: Path) -> dict[str, EvaluatedPolicy]:
    """All policies of a finished evaluation or run by their names in it, the baseline first.

    Raises:
        ConfigError: it is not finished.
    """
    folder = folder.resolve()
    for name in (CONFIG, SUMMARY, MEASURES):
        if not (folder / name).is_file():
            raise ConfigError(
                f"{folder} has no {name}, so it is no finished evaluation; finish it with "
                "resume=FOLDER, or give another folder."
            )
    config = read_config(folder / CONFIG)
    summary, policies = read_json(folder / SUMMARY), read_json(folder / MEASURES)
    api = summary.get("api") or {}
    return {
        name: EvaluatedPolicy(
            name=name,
            folder=folder,
            config=config,
            measures={partner: _numbers(found) for partner, found in measures.items()},
            episodes=summary["episodes"].get(name, {}),
            cost_usd=None if api.get("unknown_price_calls") else float(api.get("settled_usd", 0)),
            uncertain_usd=float(api.get("uncertain_usd", 0)),
        )
        for name, measures in policies.items()
    }


def _numbers(found: Mapping[str, Mapping[str, float | None]]) -> dict[str, Measures]:
    """Measures as they were: JSON has null where nothing could be said."""
    return {
        scenario_id: {name: _NAN if x is None else float(x) for name, x in measures.items()}
        for scenario_id, measures in found.items()
    }


def _name(folder: Path) -> str:
    """What people call the policy: its model, or its run and checkpoint."""
    folder = folder.resolve()
    policy = read_config(folder / CONFIG)["policy"]
    if policy.get("model"):
        return str(policy["model"]["name"])
    place = Path(policy["name"])
    if len(place.parts) < 2:  # a run's own policy
        return folder.name
    return f"{place.parents[1].name}/{place.name}" if place.name.isdigit() else place.name


def _check_same(first: EvaluatedPolicy, other: EvaluatedPolicy) -> None:
    ours, theirs = _material(first), _material(other)
    prefixes = _SAME + tuple(
        name for name in _SAME_PARTNER if all(f"{name}.name" in c for c in (ours, theirs))
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


def _material(contestant: EvaluatedPolicy) -> dict[str, Any]:
    """Its options by their dotted names, with the defaults of those that it is older than."""
    options = with_defaults(contestant.config)
    return {name: value for name, value in options.items() if name.split(".")[-1] not in OF_CALLS}
