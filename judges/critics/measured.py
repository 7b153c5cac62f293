"""Critics that measure: they locate an error by a fall of the expected value."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from engines.gather import together
from envs.errors import ConfigError
from envs.options import Positive
from envs.types import Episode
from judges.critics.base import (
    Critic,
    DropKind,
    Dropped,
    Located,
    Selected,
    ValueProbe,
    critic,
    no_turn,
    own_turns,
)


@critic("value", locates=True, measures=True)
@dataclass(frozen=True, slots=True)
class ValueCritic(Critic):
    """Names the own turn after which the value fell most: a measured form of the erroneous turn.

    The drop at an own turn is its value minus the value at the seat's next own turn, or minus the
    realised value after the last one, so the partner's answer is part of it. Ties go to the
    earliest turn.

    Attributes:
        min_drop: smaller drops are noise, not errors; in points of value, > 0.
    """

    min_drop: Positive

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


@critic("first", locates=True, measures=True)
@dataclass(frozen=True, slots=True)
class FirstErrorCritic(Critic):
    """Names the first own turn after which the value fell: the first wrong step.

    Step-DPO (arXiv 2406.18629, section 3.2) learns from the first error of a chain of reasoning,
    since all steps before it are right. Here a turn is wrong that cost `min_drop` or more. It
    selects no segment: a step is one turn.

    Attributes:
        min_drop: as for `ValueCritic`.
    """

    min_drop: Positive

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
