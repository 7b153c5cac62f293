"""The policies of finished evaluations, read back so that they can be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envs.errors import ConfigError
from training.measures import Measures
from training.run import CONFIG, MEASURES, SUMMARY, read_config

_SAME = ("seed", "judge", "env.families", "env.max_turns", "env.order", "env.difficulty")
"""Options that must agree, or scenarios, seats, seeds or scores are not the same."""

_POLICY = "final"
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Contestant:
    """One policy that was evaluated.

    Attributes:
        measures: partner -> scenario id -> measures.
        episodes: partner -> {"played", "unscored"}.
        cost_usd: what its calls to APIs cost; None where no price was known.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    measures: Mapping[str, Mapping[str, Measures]]
    episodes: Mapping[str, Mapping[str, int]]
    cost_usd: float | None


def read_contestants(folders: Sequence[Path]) -> list[Contestant]:
    """The trained policies of finished evaluations, the names of equal ones numbered.

    Raises:
        ConfigError: fewer than two, or one is not finished or was not played like the first.
    """
    if len(folders) < 2:
        raise ConfigError(
            f"Got {len(folders)} evaluation, expected at least 2 to compare; give their folders, "
            "the baseline first."
        )
    found = [_read(folder) for folder in folders]
    for other in found[1:]:
        _check_same(found[0], other)
    names = [contestant.name for contestant in found]
    return [
        replace(contestant, name=f"{contestant.name} ({n})")
        if names.count(contestant.name) > 1
        else contestant
        for n, contestant in enumerate(found, start=1)
    ]


def _read(folder: Path) -> Contestant:
    folder = folder.resolve()
    for name in (CONFIG, SUMMARY, MEASURES):
        if not (folder / name).is_file():
            raise ConfigError(
                f"{folder} has no {name}, so it is no finished evaluation; finish it with "
                "resume=FOLDER, or give another folder."
            )
    config = read_config(folder / CONFIG)
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    measures = json.loads((folder / MEASURES).read_text(encoding="utf-8"))[_POLICY]
    return Contestant(
        name=_name(folder, config),
        folder=folder,
        config=config,
        measures={p: _numbers(found) for p, found in measures.items()},
        episodes=summary["episodes"][_POLICY],
        cost_usd=_cost(summary.get("api")),
    )


def _numbers(found: Mapping[str, Mapping[str, float | None]]) -> dict[str, Measures]:
    """Measures as they were: JSON has null where nothing could be said."""
    return {
        scenario_id: {name: _NAN if x is None else float(x) for name, x in measures.items()}
        for scenario_id, measures in found.items()
    }


def _cost(api: Mapping[str, Any] | None) -> float | None:
    """Dollars, 0 without any call; None where the price of a call was not known."""
    if not api:
        return 0.0
    return None if api["unknown_price_calls"] else float(api["settled_usd"])


def _name(folder: Path, config: Mapping[str, Any]) -> str:
    """What people call the policy: its model, or its run and checkpoint."""
    policy = config["policy"]
    if policy.get("model"):
        return str(policy["model"]["name"])
    place = Path(policy["name"])
    if len(place.parts) < 2:  # a run's own policy
        return folder.name
    return f"{place.parents[1].name}/{place.name}" if place.name.isdigit() else place.name


def _check_same(first: Contestant, other: Contestant) -> None:
    for option in _SAME:
        ours, theirs = _option(first.config, option), _option(other.config, option)
        if ours != theirs:
            raise ConfigError(
                f"{first.folder} was played with {option}={ours} and {other.folder} with {theirs}, "
                "so their episodes are not pairs; evaluate both with the same options."
            )


def _option(config: Mapping[str, Any], option: str) -> Any:
    value: Any = config
    for name in option.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
