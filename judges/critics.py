"""Critics choose where to branch: the own turn of an episode that is to be played again."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Protocol

from envs.errors import ConfigError
from envs.types import Episode

ValueProbe = Callable[[int], Awaitable[float]]
"""The Monte-Carlo value of a place, for the seat that is looked at.

Called with a transcript index t it gives the mean value to the seat over continuations sampled from
just before turn t. At t = len(episode.turns) nothing is left to sample: there it must give the
value that the episode really ended with. The caller samples, scores and says what value is.
"""


@dataclass(frozen=True, slots=True)
class Located:
    """The place to branch from.

    Attributes:
        turn: transcript index of one of the seat's own turns.
        reason: one sentence, for people.
        drop: how much value the turn cost; 0 where the critic measures nothing.
    """

    turn: int
    reason: str
    drop: float


@dataclass(frozen=True, slots=True)
class Dropped:
    """There is no place worth branching from; `reason` is counted and shown."""

    reason: str


class Critic(Protocol):
    """Anything that can locate the turn to play again."""

    @property
    def id(self) -> str: ...

    async def locate(self, episode: Episode, seat: int, values: ValueProbe) -> Located | Dropped:
        """Choose one of the seat's own turns, or say why none."""
        ...


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
            return Dropped(_no_turn(seat))
        probed = await asyncio.gather(*(values(t) for t in (*turns, len(episode.turns))))
        drops = [before - after for before, after in pairwise(probed)]
        place = max(range(len(turns)), key=drops.__getitem__)
        turn, drop = turns[place], drops[place]
        if drop < self.min_drop:
            return Dropped(
                f"The largest drop of seat {seat}'s value is {drop:.2f}, at turn {turn};"
                f" less than {self.min_drop:.2f} is taken for noise."
            )
        reason = (
            f"The expected value to seat {seat} fell from {probed[place]:.2f} before turn {turn}"
            f" to {probed[place + 1]:.2f} after it."
        )
        return Located(turn=turn, reason=reason, drop=drop)


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
            return Dropped(_no_turn(seat))
        turn = Random(self._digest(episode, seat)).choice(turns)
        reason = f"Turn {turn} was drawn at random from the {len(turns)} turns of seat {seat}."
        return Located(turn=turn, reason=reason, drop=0.0)

    def _digest(self, episode: Episode, seat: int) -> int:
        """A seed from stable text; `hash` would change from process to process."""
        turns = [
            (turn.seat, turn.action.type.value, turn.action.argument) for turn in episode.turns
        ]
        text = repr((self.seed, episode.scenario.id, seat, turns))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


CRITICS: dict[str, Callable[..., Critic]] = {"value": ValueCritic, "random": RandomCritic}
"""Every critic by its id."""


def own_turns(episode: Episode, seat: int) -> tuple[int, ...]:
    """The transcript indices of the seat's own turns, in order."""
    return tuple(turn.index for turn in episode.turns if turn.seat == seat)


def select_segment(chosen_own_turns: int, rejected_own_turns: int, max_turns: int) -> int:
    """How many own turns of both sides, from the branch turn on, carry loss.

    Both sides keep equally many, because only then does the partition function cancel
    (SDPO, arXiv 2501.01821, section 3).

    Args:
        chosen_own_turns: own turns of the better branch from the branch turn on, >= 1.
        rejected_own_turns: the same of the worse branch, >= 1.
        max_turns: the longest segment wanted, >= 1; 1 is turn-level DPO.

    Raises:
        ConfigError: one of them is below 1.
    """
    lengths = {
        "chosen_own_turns": chosen_own_turns,
        "rejected_own_turns": rejected_own_turns,
        "max_turns": max_turns,
    }
    for name, length in lengths.items():
        if length < 1:
            raise ConfigError(
                f"{name} is {length}, but must be at least 1: a segment holds the branch turn."
            )
    return min(lengths.values())


def _no_turn(seat: int) -> str:
    return f"Seat {seat} took no turn of its own."
