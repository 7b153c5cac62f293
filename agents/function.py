"""A plain function as a player: it is given a history and returns what to say or do, as text."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from agents.base import Agent, Move, Seat
from agents.human import read_typed
from agents.prompts import STYLES
from agents.remote import Conversation
from envs.actions import JsonCodec, split_note
from envs.errors import ConfigError
from envs.scenarios.task import Task
from envs.types import Action, ActionType, Observation, Turn

_CODEC = JsonCodec(prose_is_speech=True)


@dataclass(frozen=True, slots=True)
class History:
    """What an agent knows when it is to act; nothing of the other's private side is in it.

    Attributes:
        observation: the seat's view of the scenario, the transcript and the number of turns left.
        messages: the same as chat messages, {"role": "system" | "user" | "assistant", "content":
            TEXT}, ready for a chat model; they ask for SOTOPIA's JSON actions.
        last: what the other said or did since the own last turn; "" at the start.
        offer: the words after "offer" of the other's last turn, where it was an offer; else "".
    """

    observation: Observation
    messages: tuple[dict[str, str], ...]
    last: str
    offer: str

    @property
    def context(self) -> str:
        """The public scene."""
        return self.observation.view.context

    @property
    def goal(self) -> str:
        """The own private goal."""
        return self.observation.view.goal

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The transcript so far; `turn.seat == history.seat` tells the own turns."""
        return self.observation.turns

    @property
    def turns_left(self) -> int:
        """How many turns are left, both seats together and this one included."""
        return self.observation.turns_left

    @property
    def seat(self) -> int:
        """The own seat, 0 or 1."""
        return self.observation.view.seat

    def __str__(self) -> str:
        return "\n\n".join(message["content"] for message in self.messages)


Reply = str | Action
AgentFunction = Callable[[History], Reply | Awaitable[Reply]]
"""An agent of one's own, plain or `async`; see `read_reply` for what its text may say."""


@dataclass(frozen=True, slots=True)
class FunctionPlayer:
    """A function as a player in any number of episodes.

    A plain function is called in the event loop, so while it waits, everybody waits. An `async`
    one lets other episodes go on. What it raises ends the run: a fault in it is never a turn.
    """

    function: AgentFunction
    id: str = "agent"

    def sit(self, seat: Seat) -> Agent:
        return _SeatedFunction(self, seat)


class _SeatedFunction:
    """The function in one seat of one episode."""

    def __init__(self, player: FunctionPlayer, seat: Seat) -> None:
        self._player, self._task = player, seat.task
        self._conversation = Conversation(STYLES["full"], seat.view)

    async def act(self, observation: Observation) -> Move:
        answer: Any = self._player.function(self._history(observation))
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, Action):
            return Move(answer)
        if not isinstance(answer, str):
            raise ConfigError(
                f"The agent {self._player.id} returned {type(answer).__name__}, but must return "
                "text or an Action: return what it says, such as 'Hello.' or '/accept'."
            )
        return Move(read_reply(answer, observation, self._task))

    def _history(self, observation: Observation) -> History:
        messages = self._conversation.read(observation)
        others = [turn.action for turn in observation.turns if turn.seat != observation.view.seat]
        last = others[-1] if others else None
        is_offer = last is not None and last.type is ActionType.ACT
        _, _, terms = last.argument.partition("offer ") if last and is_offer else ("", "", "")
        return History(
            observation,
            tuple({"role": each.role, "content": each.content} for each in messages),
            last=last.text if last is not None else "",
            offer=terms,
        )


def read_reply(text: str, observation: Observation, task: Task | None) -> Action:
    """The action in a reply: SOTOPIA's JSON, or words and commands as a person types them.

    Plain words are said aloud. `/offer TERMS`, `/accept`, `/reject` (with words before them or
    not), `/do WORDS`, `/gesture WORDS`, `/none` and `/leave` act. A leading
    `<think> ... </think>` is left out.

    Args:
        task: what is bargained over; None where there are no deals to be made.

    Returns:
        An invalid action with the reason, where it cannot be read or the rules do not allow it.
    """
    said = split_note(text).action_text
    if "{" in said:
        return _CODEC.decode(text)
    return read_typed(" ".join(said.split()), observation, task)
