"""What policies are measured on: held-out scenarios, seats, partners and protocol."""

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
"""SOTOPIA's turn limit, both seats together (arXiv 2310.11667, section 2.2)."""

Subsets = Mapping[str, frozenset[str]]
"""Named groups of scenario ids that are reported separately."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The scenarios that policies are compared on, in a fixed order, and how they are played.

    Attributes:
        both_seats: against other partners, play every scenario from both seats; if False, the
            policy's seat alternates from scenario to scenario.
        episodes: how many episodes per scenario and seat.
        protocol: name and version of an external protocol; None for Parley's own scenarios.
        subsets: scenarios that are also reported separately; empty if a program can check all.
    """

    split: str
    scenarios: tuple[Scenario, ...]
    both_seats: bool = False
    episodes: int = 1
    protocol: str | None = None
    subsets: Subsets = field(default_factory=dict)

    def scenario_of(self, scenario_id: str) -> Scenario:
        """Find a scenario by its id.

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


def evaluation_partners(config: RunConfig, *, has_bc: bool) -> tuple[str, ...]:
    """The partners to evaluate against: those with a weight that can play.

    frozen_bc exists only if the policy was behaviour-cloned here, and scripted experts cannot play
    scenes in plain English.

    Raises:
        ConfigError: no partner is left.
    """
    chosen = [name for name, weight in config.partner.weights.items() if weight > 0]
    absent = {"frozen_bc": not has_bc, "experts": config.env.has_scenes}
    left = tuple(name for name in chosen if not absent.get(name))
    if not left:
        raise ConfigError(
            f"No partner is left: of {', '.join(chosen)}, frozen_bc is the clone of a checkpoint "
            "that lies in a run, and experts play the families alone; choose partner=self, "
            "partner=gpt4o or another."
        )
    return left


def with_files(config: RunConfig) -> RunConfig:
    """Download SOTOPIA's files if the options name them on the hub, and return local options.

    The path of a download contains the commit, so the options say exactly which files were used.

    Raises:
        ConfigError: files cannot be downloaded.
    """
    path, split = config.env.path, config.env.split
    if path is None:
        return config
    if config.env.scene_file is not None or split is None:
        return replace(config, env=replace(config.env, path=str(Path(path).resolve())))
    folder = fetch(path, needed_files(split)) if is_on_hub(path) else Path(path).resolve()
    return replace(config, env=replace(config.env, path=str(folder)))


def held_out(config: RunConfig) -> HeldOut:
    """Draw or load the held-out scenarios that the options name.

    Raises:
        DataError: files are missing or malformed.
        ConfigError: a scenario has more than two seats.
    """
    env, evaluation = config.env, config.evaluation
    if env.path is None or env.split is None or not env.is_protocol:
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
    """The scenarios that a program can check, and those that need a judge."""
    if not has_scenes:
        return {}
    found = {
        "verifiable": frozenset(s.id for s in scenarios if s.task is not None),
        "judged": frozenset(s.id for s in scenarios if s.task is None),
    }
    return {name: ids for name, ids in found.items() if ids}


def _by_source(scenarios: Sequence[Scenario], sources: Mapping[str, str]) -> Subsets:
    """The scenarios that a program can check, by the data set they come from."""
    found: dict[str, set[str]] = {}
    for scenario in scenarios:
        if scenario.task is not None:
            found.setdefault(sources[scenario.id.split("/")[1]], set()).add(scenario.id)
    return {name: frozenset(ids) for name, ids in sorted(found.items())}


def _protocol(env: EnvConfig, episodes: int) -> str:
    """The protocol's name, with every deviation from SOTOPIA's: number, length, order."""
    deviations = []
    if episodes != 1:
        deviations.append(f"{episodes} episodes a combination and seat")
    if env.max_turns != SOTOPIA_TURNS:
        deviations.append(f"{env.max_turns} turns")
    if env.order != "round_robin":
        deviations.append(f"{env.order} order")
    return f"{PROTOCOL} with {' and '.join(deviations)}" if deviations else PROTOCOL


def _check_seats(scenarios: Sequence[Scenario]) -> None:
    for scenario in scenarios:
        if len(scenario.goals) != 2:
            raise ConfigError(
                f"The scenario {scenario.id} has {len(scenario.goals)} seats, but policies are "
                "compared in pairs of seats; leave it out of the files."
            )
