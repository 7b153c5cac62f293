"""What a player is to the rest of the house: somebody who can take a seat and act in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from engines.types import Generation
from envs.scenarios.task import Task
from envs.types import Action, Observation, View


@dataclass(frozen=True, slots=True)
class Move:
    """An action and, when a model made it, the tokens behind it."""

    action: Action
    generation: Generation | None = None


class Agent(Protocol):
    """Somebody in one seat of one episode."""

    async def act(self, observation: Observation) -> Move:
        """Choose the next action. Bad model output is an invalid action, not an exception."""
        ...


class Player(Protocol):
    """Somebody who can sit down in any number of episodes.

    Attributes:
        id: a stable name with a version, stored with each episode.
    """

    @property
    def id(self) -> str: ...

    def sit(
        self,
        view: View,
        task: Task | None,
        *,
        seed: int,
        persona: int,
        past: tuple[Generation, ...] = (),
    ) -> Agent:
        """Take the seat of `view`.

        Args:
            task: what a program knows of the scenario; a player may use its own side of it only.
            seed: the source of the agent's choices.
            persona: the source of what it is and stays in every continuation of one history,
                such as its temper.
            past: this seat's own generations so far, when the episode goes on from its middle.
        """
        ...
