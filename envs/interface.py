"""What the Gymnasium and PettingZoo environments share: their set-up, rewards and infos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.actions import CODECS, Codec
from envs.errors import ConfigError
from envs.referee import MAX_GOAL, goal_score
from envs.scenarios import FAMILIES, draw, scenario_of
from envs.scenarios.open_ended import OPEN
from envs.social import Rules, SocialState
from envs.spaces import Utf8Text, action_space
from envs.types import Action, ActionType, EndReason, Scenario

Info = dict[str, Any]
"""Per seat: `scenario` always, `invalid` after a bad action, `end`, `deal`, `goal` at the end."""


@dataclass(frozen=True, slots=True)
class EnvSetup:
    """The checked options of an environment, which start its episodes.

    Attributes:
        scenarios: what `reset` draws from; all have the same number of seats.
    """

    scenarios: tuple[Scenario, ...]
    rules: Rules
    codec: Codec

    @property
    def seats(self) -> int:
        return len(self.scenarios[0].goals)

    def action_space(self, seat: int) -> Utf8Text:
        """A new action space, whose samples favour acts that fit the first scenario."""
        words = ("accept", "reject", *_some_offers(self.scenarios[0], seat))
        acts = [Action(ActionType.ACT, text) for text in words]
        talk = [Action(ActionType.SPEAK, "hello"), Action(ActionType.NON_VERBAL, "nods")]
        return action_space(self.codec, [*acts, *talk, Action(ActionType.LEAVE)])

    def start(self, generator: np.random.Generator, options: Mapping[str, Any]) -> SocialState:
        """A new episode of a random scenario, or of number `scenario_index` of the options."""
        drawn = int(generator.integers(len(self.scenarios)))
        seed = int(generator.integers(2**63))
        index = options.get("scenario_index", drawn)
        if not isinstance(index, int) or not 0 <= index < len(self.scenarios):
            raise ConfigError(
                f"got scenario_index={index!r}, expected an integer from 0 to "
                f"{len(self.scenarios) - 1}."
            )
        return SocialState(self.scenarios[index], self.rules, seed)


def _some_offers(scenario: Scenario, seat: int, count: int = 8) -> list[str]:
    if scenario.task is None:
        return []
    deals = scenario.task.deals()
    spread = deals[:: max(1, len(deals) // count)]
    return [f"offer {scenario.task.terms(seat, deal)}" for deal in spread]


Scenarios = Scenario | str | Sequence[Scenario | str]
"""Scenarios, their ids such as "camp/test/3", or names of families, for their first training
scenarios; or a sequence of these."""

FAMILY_SIZE = 100
"""How many training scenarios the name of a family stands for."""


def as_scenarios(given: Scenarios) -> tuple[Scenario, ...]:
    """The scenarios that ids and names of families stand for.

    Raises:
        ConfigError: something is neither a scenario nor text.
        DataError: there is no such scenario or family.
    """
    if isinstance(given, Scenario | str):
        given = (given,)
    return tuple(scenario for each in given for scenario in _scenarios_of(each))


def _scenarios_of(given: Scenario | str) -> list[Scenario]:
    if isinstance(given, Scenario):
        return [given]
    if not isinstance(given, str):
        raise ConfigError(
            f"got a {type(given).__name__} among the scenarios, expected ids such as "
            "'camp/test/3', names of families, or what envs.scenarios.draw returns."
        )
    if given == OPEN or given in FAMILIES:
        return [draw(given, "train", index) for index in range(FAMILY_SIZE)]
    return [scenario_of(given)]


def env_setup(scenarios: Scenarios, rules: Rules | None, codec: str) -> EnvSetup:
    """Check the options of an environment and put them together.

    Raises:
        ConfigError: no scenarios, scenarios of different sizes, or an unknown codec.
        DataError: an id names no scenario.
    """
    scenarios = as_scenarios(scenarios)
    if not scenarios:
        raise ConfigError("got no scenarios, expected at least one; pass `scenarios=`.")
    sizes = sorted({len(scenario.goals) for scenario in scenarios})
    if len(sizes) > 1:
        raise ConfigError(f"got scenarios with {sizes} seats, expected one size for all of them.")
    if codec not in CODECS:
        raise ConfigError(f"got codec={codec!r}, expected one of {sorted(CODECS)}.")
    return EnvSetup(tuple(scenarios), rules if rules is not None else Rules(), CODECS[codec])


def is_terminated(state: SocialState) -> bool:
    """Whether the agents ended the episode."""
    return state.end is not None and state.end is not EndReason.TURN_LIMIT


def is_truncated(state: SocialState) -> bool:
    """Whether the turn limit cut the episode off."""
    return state.end is EndReason.TURN_LIMIT


def final_reward(state: SocialState, seat: int) -> float:
    """The seat's goal over 10, in 0..1; 0 before the end and where only a judge can score."""
    task = state.scenario.task
    if state.end is None or task is None:
        return 0.0
    return goal_score(task, seat, state.table.closed) / MAX_GOAL


def info_of(state: SocialState, seat: int) -> Info:
    """The info dictionary of a seat; see `Info`."""
    info: Info = {"scenario": state.scenario.id}
    last = next((turn for turn in reversed(state.turns) if turn.seat == seat), None)
    if last is not None and last.action.invalid is not None:
        info["invalid"] = last.action.invalid
    if state.end is None:
        return info
    info["end"] = state.end.value
    if state.table.closed is not None:
        info["deal"] = state.table.closed
    if state.scenario.task is not None:
        info["goal"] = MAX_GOAL * final_reward(state, seat)
    return info
