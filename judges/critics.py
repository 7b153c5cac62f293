"""Critics that ask nobody: the measured fall of value, the start, chance; the list of them all."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from engines.together import together
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
class ValueCritic(Critic):
    """Names the own turn after which the value fell most: a measured form of the erroneous turn.

    The drop at an own turn is its value minus the value at the seat's next own turn, or minus the
    realised value after the last one, so the partner's answer is part of it. Ties go to the
    earliest turn.

    Attributes:
        min_drop: smaller drops are noise, not errors; in points of value, > 0.
    """

    min_drop: float

    def __post_init__(self) -> None:
        _check_min_drop(self.min_drop)

    @property
    def id(self) -> str:
        return "value"

    async def locate(self, episode: Episode, seat: int, values: ValueProbe) -> Located | Dropped:
        """Probe before each own turn and at the end, all at once so that they can be batched."""
        turns = own_turns(episode, seat)
        if not turns:
            return no_turn(seat)
        probed = await _probed((*turns, len(episode.turns)), values)
        drops = [before - after for before, after in pairwise(probed)]
        place = max(range(len(turns)), key=drops.__getitem__)
        if drops[place] < self.min_drop:
            return Dropped(
                DropKind.NOISE,
                f"The largest drop of seat {seat}'s value is {drops[place]:.2f}, at turn "
                f"{turns[place]}; less than {self.min_drop:.2f} is taken for noise.",
            )
        return _fall(seat, turns[place], probed[place], probed[place + 1])

    async def select(
        self,
        worse: Episode,
        better: Episode,
        seat: int,
        turn: int,
        values: ValueProbe | None = None,
    ) -> Selected | Dropped | None:
        """Measure where `better` gained: the segment ends with the turn that gained most.

        The mirror of `locate`: what a turn gains is the value after it minus that before it. Ties
        go to the earliest turn. Without `values` no opinion.
        """
        if values is None:
            return None
        turns = own_turns(better, seat, since=turn)[: len(own_turns(worse, seat, since=turn))]
        later = own_turns(better, seat, since=turn)[len(turns) :]
        end = later[0] if later else len(better.turns)
        probed = await _probed((*turns, end), values)
        gains = [after - before for before, after in pairwise(probed)]
        place = max(range(len(turns)), key=gains.__getitem__)
        reason = (
            f"Of the better branch, turn {turns[place]} raised the expected value to seat {seat} "
            f"most, from {probed[place]:.2f} to {probed[place + 1]:.2f}."
        )
        return Selected(place + 1, reason)


@dataclass(frozen=True, slots=True)
class FirstErrorCritic(Critic):
    """Names the first own turn after which the value fell: the first wrong step.

    Step-DPO (arXiv 2406.18629, section 3.2) learns from the first error of a chain of reasoning,
    since all steps before it are right. Here a turn is wrong that cost `min_drop` or more. It
    selects no segment: a step is one turn.

    Attributes:
        min_drop: as for `ValueCritic`.
    """

    min_drop: float

    def __post_init__(self) -> None:
        _check_min_drop(self.min_drop)

    @property
    def id(self) -> str:
        return "first"

    async def locate(self, episode: Episode, seat: int, values: ValueProbe) -> Located | Dropped:
        """Probe as `ValueCritic` does."""
        turns = own_turns(episode, seat)
        if not turns:
            return no_turn(seat)
        probed = await _probed((*turns, len(episode.turns)), values)
        for turn, (before, after) in zip(turns, pairwise(probed), strict=True):
            if before - after >= self.min_drop:
                return _fall(seat, turn, before, after)
        return Dropped(
            DropKind.NOISE, f"No turn cost seat {seat} a value of {self.min_drop:.2f} or more."
        )


@dataclass(frozen=True, slots=True)
class StartCritic(Critic):
    """Names the seat's first own turn, from which a branch is a session of its own (ETO, DMPO).

    It selects no segment: a session is taken whole.
    """

    @property
    def id(self) -> str:
        return "start"

    async def locate(self, episode: Episode, seat: int, values: ValueProbe) -> Located | Dropped:
        """Look for the first own turn; `values` is not asked."""
        turns = own_turns(episode, seat)
        if not turns:
            return no_turn(seat)
        reason = f"Turn {turns[0]} is the first one of seat {seat}."
        return Located(turn=turns[0], reason=reason, drop=0.0)


@dataclass(frozen=True, slots=True)
class RandomCritic(Critic):
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

    def _digest(self, episode: Episode, seat: int) -> int:
        """A seed from stable text; `hash` would change from process to process."""
        turns = [
            (turn.seat, turn.action.type.value, turn.action.argument) for turn in episode.turns
        ]
        text = repr((self.seed, episode.scenario.id, seat, turns))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _check_min_drop(min_drop: float) -> None:
    if not (math.isfinite(min_drop) and min_drop > 0):
        raise ConfigError(f"min_drop is {min_drop}, but must be finite and above 0.")


async def _probed(turns: Iterable[int], values: ValueProbe) -> list[float]:
    """The values before each of the turns, asked for all at once."""
    return await together(values(turn) for turn in turns)


def _fall(seat: int, turn: int, before: float, after: float) -> Located:
    reason = (
        f"The expected value to seat {seat} fell from {before:.2f} before turn {turn}"
        f" to {after:.2f} after it."
    )
    return Located(turn=turn, reason=reason, drop=before - after)


CRITICS: dict[str, Callable[..., Critic]] = {
    "value": ValueCritic,
    "first": FirstErrorCritic,
    "start": StartCritic,
    "random": RandomCritic,
    "llm": LlmCritic,
}
"""Every critic by its id."""
