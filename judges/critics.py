"""Critics: the measured fall of value, and chance as the control; with the list of them all."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from envs.errors import ConfigError
from envs.types import Episode
from judges.critic_base import (
    Critic,
    DropKind,
    Dropped,
    Located,
    Selected,
    ValueProbe,
    no_turn,
    own_turns,
)
from judges.llm_critic import LlmCritic


@dataclass(frozen=True, slots=True)
class ValueCritic:
    """Names the own turn after which the value fell most: a measured form of the erroneous turn.

    The drop at an own turn is its value minus the value at the seat's next own turn, or minus the
    realised value after the last one, so the partner's answer is part of it. Ties go to the
    earliest turn.

    Attributes:
        min_drop: smaller drops are noise, not errors; in points of value, > 0.
    """

    min_drop: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.min_drop) and self.min_drop > 0):
            raise ConfigError(f"min_drop is {self.min_drop}, but must be finite and above 0.")

    @property
    def id(self) -> str:
        return "value"

    async def locate(self, episode: Episode, seat: int, values: ValueProbe) -> Located | Dropped:
        """Probe before each own turn and at the end, all at once so that they can be batched."""
        turns = own_turns(episode, seat)
        if not turns:
            return no_turn(seat)
        probed = await asyncio.gather(*(values(t) for t in (*turns, len(episode.turns))))
        drops = [before - after for before, after in pairwise(probed)]
        place = max(range(len(turns)), key=drops.__getitem__)
        turn, drop = turns[place], drops[place]
        if drop < self.min_drop:
            return Dropped(
                DropKind.NOISE,
                f"The largest drop of seat {seat}'s value is {drop:.2f}, at turn {turn};"
                f" less than {self.min_drop:.2f} is taken for noise.",
            )
        reason = (
            f"The expected value to seat {seat} fell from {probed[place]:.2f} before turn {turn}"
            f" to {probed[place + 1]:.2f} after it."
        )
        return Located(turn=turn, reason=reason, drop=drop)

    async def select(
        self, worse: Episode, better: Episode, seat: int, turn: int
    ) -> Selected | Dropped | None:
        """No opinion: to measure where `better` gained would take probes at all its turns."""
        return None


@dataclass(frozen=True, slots=True)
class RandomCritic:
    """Names any own turn, each as likely as the other: the control that biases no contrast.

    The choice depends on the seed, the scenario, the seat and what happened, so that the same
    episode is branched at the same turn wherever and whenever it is looked at.
    """

    seed: int

    @property
    def id(self) -> str:
        return "random"

    async def locate(self, episode: Episode, seat: int, values: ValueProbe) -> Located | Dropped:
        """Draw a turn; `values` is not asked."""
        turns = own_turns(episode, seat)
        if not turns:
            return no_turn(seat)
        turn = Random(self._digest(episode, seat)).choice(turns)
        reason = f"Turn {turn} was drawn at random from the {len(turns)} turns of seat {seat}."
        return Located(turn=turn, reason=reason, drop=0.0)

    async def select(
        self, worse: Episode, better: Episode, seat: int, turn: int
    ) -> Selected | Dropped | None:
        """No opinion."""
        return None

    def _digest(self, episode: Episode, seat: int) -> int:
        """A seed from stable text; `hash` would change from process to process."""
        turns = [
            (turn.seat, turn.action.type.value, turn.action.argument) for turn in episode.turns
        ]
        text = repr((self.seed, episode.scenario.id, seat, turns))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


CRITICS: dict[str, Callable[..., Critic]] = {
    "value": ValueCritic,
    "random": RandomCritic,
    "llm": LlmCritic,
}
"""Every critic by its id."""
