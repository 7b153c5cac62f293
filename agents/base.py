"""The interfaces of players: a `Player` takes seats in episodes, an `Agent` acts in one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from engines.types import Generation
from envs.scenarios.task import Task
from envs.types import Action, Episode, Observation, View


@dataclass(frozen=True, slots=True)
class Move:
    """An action and, when a model made it, the tokens that it was decoded from."""

    action: Action
    generation: Generation | None = None


@dataclass(frozen=True, slots=True)
class Seat:
    """What a player is given when it takes a seat in an episode.

    Attributes:
        view: what the seat may know of the scenario, with the seat's number.
        task: the task behind the scenario; a player may use its own side of it only. None where no
            program can check the goals.
        seed: the source of the agent's random choices.
        persona: the source of what stays the same in every continuation of one history, such as a
            scripted expert's bargaining style.
        past: this seat's own generations so far, when the episode goes on from its middle.
    """

    view: View
    task: Task | None
    seed: int
    persona: int
    past: tuple[Generation, ...] = ()


class Agent(Protocol):
    """A player in one seat of one episode."""

    async def act(self, observation: Observation) -> Move:
        """Choose the next action. Bad model output is an invalid action, not an exception."""
        ...


@runtime_checkable
class Listener(Protocol):
    """An agent that is told how its episode ended: a person's."""

    def ended(self, episode: Episode, reasons: Sequence[str]) -> None:
        """Take note of the end.

        Args:
            reasons: the judge's, a sentence a seat; one for all where there are no scores.
        """
        ...


class Player(Protocol):
    """A policy, script or person that can play in any number of episodes at once.

    Attributes:
        id: a stable name with a version, stored with each episode.
    """

    @property
    def id(self) -> str: ...

    def sit(self, seat: Seat) -> Agent:
        """Make the agent that plays this seat."""
        ...
