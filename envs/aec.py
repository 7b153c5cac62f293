"""The social environment with PettingZoo's interfaces: AEC (agents in turn) and parallel."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Dict
from gymnasium.utils import seeding
from pettingzoo import AECEnv, ParallelEnv  # type: ignore[import-untyped]

from envs.errors import ConfigError
from envs.interface import (
    EnvSetup,
    Info,
    Scenarios,
    env_setup,
    final_reward,
    info_of,
    is_terminated,
    is_truncated,
)
from envs.social import Order, Rules, SocialState
from envs.spaces import Observed, Utf8Text, observation_space, observed, transcript_text
from envs.types import Action


class _AgentSpaces:
    """The agents' names, seats and spaces, which both environments have."""

    def _set_up(self, setup: EnvSetup) -> None:
        self._setup = setup
        self.possible_agents = [f"agent_{seat}" for seat in range(setup.seats)]
        self.agents: list[str] = []
        self.social: SocialState | None = None
        self._seat_of = {agent: seat for seat, agent in enumerate(self.possible_agents)}
        self._generator: np.random.Generator = seeding.np_random(None)[0]
        self._action_spaces = {
            agent: setup.action_space(seat) for agent, seat in self._seat_of.items()
        }
        self._observation_spaces = {
            agent: observation_space(setup.rules.max_turns) for agent in self.possible_agents
        }

    def observation_space(self, agent: str) -> Dict:
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> Utf8Text:
        return self._action_spaces[agent]

    def _start(self, seed: int | None, options: dict[str, Any] | None) -> SocialState:
        """A new episode; without a seed the draws go on from the last one."""
        if seed is not None:
            self._generator, _ = seeding.np_random(seed)
        self.agents = list(self.possible_agents)
        return self._setup.start(self._generator, options or {})


class SocialAEC(_AgentSpaces, AECEnv[str, Observed, str | None]):  # type: ignore[misc]
    """One agent acts at a time; actions are texts that a codec decodes.

    Rewards are 0 until the end, then goal / 10 where a program can check the goal. A turn limit
    is a truncation, every other end a termination. In simultaneous order the actions of a round
    are collected and take effect together.

    Args:
        scenarios: what `reset` draws from: scenarios, their ids such as "camp/test/3", or names of
            families; `options={"scenario_index": i}` picks one.
        codec: the name of the text form of actions, a key of `envs.actions.CODECS`.
    """

    metadata: dict[str, Any] = {"name": "parley_social_v0", "render_modes": ["ansi"]}  # noqa: RUF012

    def __init__(
        self,
        scenarios: Scenarios,
        rules: Rules | None = None,
        codec: str = "line",
        render_mode: str | None = None,
    ) -> None:
        super().__init__()
        self._set_up(env_setup(scenarios, rules, codec))
        self.render_mode = render_mode
        self._waiting: dict[int, Action] = {}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Start an episode; without a seed the draws go on from the last one."""
        self.social = self._start(seed, options)
        self._waiting = {}
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self._publish()

    def observe(self, agent: str) -> Observed:
        return observed(self._running().observe(self._seat_of[agent]), self._setup.codec)

    def step(self, action: str | None) -> None:
        """Let `agent_selection` act; agents of a finished episode step with None."""
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        social = self._running()
        self._waiting[self._seat_of[agent]] = self._setup.codec.decode(action or "")
        if len(self._waiting) == len(social.to_act):
            social.step(self._waiting)
            self._waiting = {}
        self._publish()
        self._accumulate_rewards()

    def render(self) -> str | None:
        """The transcript so far, with `render_mode="ansi"`."""
        if self.render_mode != "ansi":
            return None
        return transcript_text(self._running().observe(0), self._setup.codec)

    def close(self) -> None:
        """Do nothing: nothing is held open, but PettingZoo requires the method."""

    def _publish(self) -> None:
        social = self._running()
        self.rewards = {agent: final_reward(social, self._seat_of[agent]) for agent in self.agents}
        self.terminations = dict.fromkeys(self.agents, is_terminated(social))
        self.truncations = dict.fromkeys(self.agents, is_truncated(social))
        self.infos = {agent: info_of(social, self._seat_of[agent]) for agent in self.agents}
        still_to_act = [seat for seat in social.to_act if seat not in self._waiting]
        self.agent_selection = self.possible_agents[still_to_act[0] if still_to_act else 0]

    def _running(self) -> SocialState:
        if self.social is None:
            raise ConfigError("got a call before reset(), expected reset() first.")
        return self.social


class SocialParallel(_AgentSpaces, ParallelEnv[str, Observed, str]):  # type: ignore[misc]
    """All agents act at the same time, without seeing the others' actions of the round.

    Args:
        rules: must have simultaneous order; the default is `Rules(order=Order.SIMULTANEOUS)`.
    """

    metadata: dict[str, Any] = {"name": "parley_social_v0", "render_modes": []}  # noqa: RUF012

    def __init__(
        self, scenarios: Scenarios, rules: Rules | None = None, codec: str = "line"
    ) -> None:
        setup = env_setup(scenarios, rules or Rules(order=Order.SIMULTANEOUS), codec)
        if setup.rules.order is not Order.SIMULTANEOUS:
            raise ConfigError(
                f"got order={setup.rules.order.value!r} for SocialParallel, expected "
                "'simultaneous'; use SocialAEC for the other orders."
            )
        self._set_up(setup)
        self.render_mode = None

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observed], dict[str, Info]]:
        """Start an episode; without a seed the draws go on from the last one."""
        self.social = self._start(seed, options)
        return self._observations(self.social), self._infos(self.social)

    def step(
        self, actions: dict[str, str]
    ) -> tuple[
        dict[str, Observed],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, Info],
    ]:
        """Let all agents act; after the end `agents` is empty and so is everything returned."""
        social = self.social
        if social is None:
            raise ConfigError("got step() before reset(), expected reset() first.")
        if not self.agents:
            return {}, {}, {}, {}, {}
        social.step(
            {self._seat_of[agent]: self._setup.codec.decode(actions[agent]) for agent in actions}
        )
        rewards = {agent: final_reward(social, self._seat_of[agent]) for agent in self.agents}
        terminations = dict.fromkeys(self.agents, is_terminated(social))
        truncations = dict.fromkeys(self.agents, is_truncated(social))
        observations, infos = self._observations(social), self._infos(social)
        if social.end is not None:
            self.agents = []
        return observations, rewards, terminations, truncations, infos

    def _observations(self, social: SocialState) -> dict[str, Observed]:
        codec = self._setup.codec
        return {
            agent: observed(social.observe(self._seat_of[agent]), codec) for agent in self.agents
        }

    def _infos(self, social: SocialState) -> dict[str, Info]:
        return {agent: info_of(social, self._seat_of[agent]) for agent in self.agents}
