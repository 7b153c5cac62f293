"""The social environment with Gymnasium's interface: one seat acts, a partner plays the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium

from envs import GYM_ID
from envs.errors import ConfigError
from envs.interface import (
    Info,
    Scenarios,
    env_setup,
    final_reward,
    info_of,
    is_terminated,
    is_truncated,
)
from envs.social import Rules, SocialState
from envs.spaces import Observed, observation_space, observed, transcript_text
from envs.types import Action, ActionType, Observation

Partner = Callable[[Observation], Action]
"""A function that plays the other seats; it is given what that seat may see."""


def agreeable(observation: Observation) -> Action:
    """A baseline partner: asks for an offer and accepts whatever it is offered."""
    last = observation.turns[-1].action if observation.turns else None
    if last is not None and last.type is ActionType.ACT and last.argument.startswith("offer"):
        return Action(ActionType.ACT, "accept")
    return Action(ActionType.SPEAK, "What do you offer?")


class SocialGymEnv(gymnasium.Env[Observed, str]):
    """An environment for one seat: a step is its own action and the partner's answer.

    Where the partner ends the episode before the first own turn (it may when `seat` is not 0), the
    first `step` ignores its action and returns the end.

    Args:
        scenarios: what `reset` draws from: scenarios, their ids such as "camp/test/3", or names of
            families; `options={"scenario_index": i}` picks one.
        partner: plays the other seats.
        seat: the seat that the actions play.
        codec: the name of the text form of actions, a key of `envs.actions.CODECS`.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        scenarios: Scenarios,
        partner: Partner = agreeable,
        seat: int = 0,
        rules: Rules | None = None,
        codec: str = "line",
        render_mode: str | None = None,
    ) -> None:
        self._setup = env_setup(scenarios, rules, codec)
        if not 0 <= seat < self._setup.seats:
            raise ConfigError(f"got seat={seat}, expected 0 to {self._setup.seats - 1}.")
        self._seat = seat
        self._partner = partner
        self.render_mode = render_mode
        self.social: SocialState | None = None
        self.action_space = self._setup.action_space(seat)
        self.observation_space = observation_space(self._setup.rules.max_turns)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observed, Info]:
        """Start an episode and play it up to the first own turn."""
        super().reset(seed=seed)
        self.social = self._setup.start(self.np_random, options or {})
        self._play_partner(self.social)
        return self._observed(self.social), info_of(self.social, self._seat)

    def step(self, action: str) -> tuple[Observed, float, bool, bool, Info]:
        """Act by text and play on to the next own turn or the end."""
        social = self._running()
        if social.end is None:
            self._act(social, self._setup.codec.decode(action))
            self._play_partner(social)
        return (
            self._observed(social),
            final_reward(social, self._seat),
            is_terminated(social),
            is_truncated(social),
            info_of(social, self._seat),
        )

    def render(self) -> str | None:
        """The transcript so far, with `render_mode="ansi"`."""
        if self.render_mode != "ansi":
            return None
        return transcript_text(self._running().observe(self._seat), self._setup.codec)

    def _act(self, social: SocialState, own: Action) -> None:
        social.step(
            {
                seat: own if seat == self._seat else self._partner(social.observe(seat))
                for seat in social.to_act
            }
        )

    def _play_partner(self, social: SocialState) -> None:
        while social.end is None and self._seat not in social.to_act:
            social.step({seat: self._partner(social.observe(seat)) for seat in social.to_act})

    def _observed(self, social: SocialState) -> Observed:
        return observed(social.observe(self._seat), self._setup.codec)

    def _running(self) -> SocialState:
        if self.social is None:
            raise ConfigError("got a call before reset(), expected reset() first.")
        return self.social


def make(scenarios: Scenarios = "division", **options: Any) -> gymnasium.Env[Observed, str]:
    """`gymnasium.make("parley/Social-v0", scenarios=..., ...)`.

    Args:
        scenarios: see `SocialGymEnv`, which has the other options, too.
    """
    return gymnasium.make(GYM_ID, scenarios=scenarios, **options)
