"""What a critic is: it says where to branch, and how much of a better branch is learned from."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from envs.errors import ConfigError
from envs.registry import Component, Registry
from envs.types import Episode

ValueProbe = Callable[[int], Coroutine[Any, Any, float]]
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
class Selected:
    """The part of a better branch that made the difference.

    Attributes:
        own_turns: how many of the seat's own turns it holds, from the branch turn on; >= 1.
        reason: one sentence, for people.
    """

    own_turns: int
    reason: str


class DropKind(StrEnum):
    """Why a critic gives no answer, in the few words that are counted."""

    NO_TURN = "the seat took no turn"
    NOISE = "no turn cost more than noise"
    NO_ERROR = "it found no error"
    NO_REPLY = "its model gave no reply"
    INVALID_REPLY = "its model gave no valid reply"


@dataclass(frozen=True, slots=True)
class Dropped:
    """There is no place worth branching from, or no segment to be told.

    Attributes:
        kind: what is counted.
        reason: one sentence about this very case, for people.
    """

    kind: DropKind
    reason: str


class Critic(Protocol):
    """Anything that can locate the turn to play again and select what to learn from."""

    @property
    def id(self) -> str: ...

    async def locate(self, episode: Episode, seat: int, values: ValueProbe) -> Located | Dropped:
        """Choose one of the seat's own turns, or say why none."""
        ...

    async def select(
        self,
        worse: Episode,
        better: Episode,
        seat: int,
        turn: int,
        values: ValueProbe | None = None,
    ) -> Selected | Dropped | None:
        """Choose how much of `better`, from `turn` on, made the difference.

        Args:
            worse, better: share the turns before `turn`, which is one of the seat's in both.
            values: the value of places in `better`, for critics that measure.

        Returns:
            At most as many own turns as either side has; None where the critic has no opinion, as
            by default, and the pairing's longest segment is to be taken.
        """
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticSpec(Component):
    """A registered critic: a dataclass, or a function of (options, resources) that builds one.

    Attributes:
        locates: whether it names an error, so that the original is what should not be done.
        measures: whether it finds that error by a fall of value, which costs probes.
        everywhere: whether it looks at all episodes, and not at poor ones alone.
    """

    locates: bool = False
    measures: bool = False
    everywhere: bool = False


CRITICS: Registry[CriticSpec] = Registry("critic", group="critics", modules=["judges.critics"])
"""All critics by name, which is the `id` of the critic, too."""

M = TypeVar("M", bound=Callable[..., object])


def critic(
    name: str, *, locates: bool = False, measures: bool = False, everywhere: bool = False
) -> Callable[[M], M]:
    """Register a critic by its name; see `CriticSpec` for the rest."""
    return CRITICS.registers(
        CriticSpec, name, locates=locates, measures=measures, everywhere=everywhere
    )


def own_turns(episode: Episode, seat: int, since: int = 0) -> tuple[int, ...]:
    """The transcript indices of the seat's own turns from `since` on, in order."""
    return tuple(t.index for t in episode.turns[since:] if t.seat == seat)


def segment_length(chosen_own_turns: int, rejected_own_turns: int, max_turns: int) -> int:
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


def no_turn(seat: int) -> Dropped:
    """The answer about a seat that never acted."""
    return Dropped(DropKind.NO_TURN, f"Seat {seat} took no turn of its own.")
