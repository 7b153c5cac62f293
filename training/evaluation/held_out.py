"""What policies are compared on: which scenarios, from which seats, by whose protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from envs.errors import ConfigError, DataError
from envs.scenarios.sotopia import PROTOCOL, load_sotopia, needed_files, sources_of
from envs.types import Scenario
from training.config import RunConfig
from training.config.play import EnvConfig
from training.storage.hub import fetch, is_on_hub

SOTOPIA_TURNS = 20
"""Turns of both seats together in SOTOPIA (arXiv 2310.11667, section 2.2)."""

Subsets = Mapping[str, frozenset[str]]
"""Scenario ids by the name of what they have in common."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The scenarios that policies are compared on, in a fixed order.

    Attributes:
        both_seats: against others the policy plays every scenario from each seat; else it changes
            seats from scenario to scenario.
        episodes: of each scenario and seat.
        protocol: name and version of the protocol that this is; None for scenarios of our own.
        subsets: what is reported apart as well; empty where a program can check everything.
    """

    split: str
    scenarios: tuple[Scenario, ...]
    both_seats: bool = False
    episodes: int = 1
    protocol: str | None = None
    subsets: Subsets = field(default_factory=dict)

    def scenario_of(self, scenario_id: str) -> Scenario:
        """The scenario with that id.

        Raises:
            DataError: it is not one of these.
        """
        for scenario in self.scenarios:
            if scenario.id == scenario_id:
                return scenario
        raise DataError(
            f"The scenario {scenario_id} was played but is not among the {len(self.scenarios)} "
            f"of the split {self.split} now; bring back the files as they were, or start anew."
        )


def with_files(config: RunConfig) -> RunConfig:
    """The options with SOTOPIA's files in a folder here, if they are to be read.

    Files on the hub are fetched and kept by the folder that they lie in, which has the commit's
    name in it.

    Raises:
        ConfigError: files cannot be fetched.
    """
    path, split = config.env.path, config.env.split
    if path is None or split is None:
        return config
    folder = fetch(path, needed_files(split)) if is_on_hub(path) else Path(path).resolve()
    return replace(config, env=replace(config.env, path=str(folder)))


def held_out(config: RunConfig) -> HeldOut:
    """The held-out scenarios that the options name.

    Raises:
        DataError: files are missing or not as they should be.
        ConfigError: a scenario has more than two seats.
    """
    env, evaluation = config.env, config.evaluation
    if env.path is None or env.split is None:  # set for SOTOPIA and for nothing else
        drawn = env.draw(evaluation.split, evaluation.scenarios)
        return HeldOut(
            evaluation.split,
            tuple(drawn),
            both_seats=evaluation.both_seats,
            episodes=evaluation.episodes,
            subsets=_checked(drawn, env.has_scenes),
        )
    scenarios = load_sotopia(env.path, env.split)
    _check_seats(scenarios)
    return HeldOut(
        env.split,
        tuple(scenarios),
        both_seats=True,
        episodes=evaluation.episodes,
        protocol=_protocol(env, evaluation.episodes),
        subsets={**_checked(scenarios, True), **_by_source(scenarios, sources_of(env.path))},
    )


def _checked(scenarios: Sequence[Scenario], has_scenes: bool) -> Subsets:
    """What a program can check, and the rest."""
    if not has_scenes:
        return {}
    found = {
        "verifiable": frozenset(s.id for s in scenarios if s.task is not None),
        "judged": frozenset(s.id for s in scenarios if s.task is None),
    }
    return {name: ids for name, ids in found.items() if ids}


def _by_source(scenarios: Sequence[Scenario], sources: Mapping[str, str]) -> Subsets:
    """What a program can check, by where it comes from."""
    found: dict[str, set[str]] = {}
    for scenario in scenarios:
        if scenario.task is not None:
            found.setdefault(sources[scenario.id.split("/")[1]], set()).add(scenario.id)
    return {name: frozenset(ids) for name, ids in sorted(found.items())}


def _protocol(env: EnvConfig, episodes: int) -> str:
    """The protocol's name; what is not as in SOTOPIA, length, order or number, is not under it."""
    other = []
    if episodes != 1:
        other.append(f"{episodes} episodes a combination and seat")
    if env.max_turns != SOTOPIA_TURNS:
        other.append(f"{env.max_turns} turns")
    if env.order != "round_robin":
        other.append(f"{env.order} order")
    return f"{PROTOCOL} with {' and '.join(other)}" if other else PROTOCOL


def _check_seats(scenarios: Sequence[Scenario]) -> None:
    for scenario in scenarios:
        if len(scenario.goals) != 2:
            raise ConfigError(
                f"The scenario {scenario.id} has {len(scenario.goals)} seats, but policies are "
                "compared in pairs of seats; leave it out of the files."
            )
