"""A player behind an API: any chat model in a seat, from the start or from the middle.

What it is told is a function of what its seat sees and of nothing else, so that a branch asks
exactly what its parent asked, and finds the answers that are stored already.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from agents.base import Agent, Move
from agents.prompts import PromptStyle, silence
from engines.chat import Chat, ChatRequest, Message
from engines.types import Generation
from envs.scenarios.task import Task
from envs.types import Action, Observation, Turn, View

ASKS_AGAIN = 1


@dataclass(frozen=True, slots=True)
class RemotePlayer:
    """A chat model with a prompt style.

    Attributes:
        temperature: None leaves it to the provider, for models that refuse to be told.
        max_tokens: a reply is cut after that many tokens; models that think need room for it.
        asks_again: how often at most a reply that is no action is sent back with what is wrong
            with it; after that the turn is an invalid action. 0 takes every reply as it is.
        purpose: what the ledger calls it.
    """

    chat: Chat
    style: PromptStyle
    temperature: float | None = 0.7
    max_tokens: int = 512
    asks_again: int = ASKS_AGAIN
    purpose: Literal["partner", "policy"] = "partner"

    @property
    def id(self) -> str:
        return self.chat.id

    def sit(
        self,
        view: View,
        task: Task | None,
        *,
        seed: int,
        persona: int,
        past: tuple[Generation, ...] = (),
    ) -> Agent:
        return _SeatedChat(self, Conversation(self.style, view), seed)


class _SeatedChat:
    """One seat's side of the conversation with the model."""

    def __init__(self, player: RemotePlayer, conversation: Conversation, seed: int) -> None:
        self._player, self._conversation, self._seed = player, conversation, seed

    async def act(self, observation: Observation) -> Move:
        messages = self._conversation.read(observation)
        place = f"{self._seed}/{len(observation.turns)}"
        action, text = await self._ask(messages, place)
        for attempt in range(1, self._player.asks_again + 1):
            if action.invalid is None:
                break
            complaint = (
                Message("assistant", text or "..."),
                Message("user", f"That could not be read: {action.invalid} Answer again."),
            )
            action, text = await self._ask((*messages, *complaint), f"{place}/{attempt}")
        return Move(action)

    async def _ask(self, messages: tuple[Message, ...], place: str) -> tuple[Action, str]:
        player = self._player
        reply = await player.chat.ask(
            ChatRequest(
                messages,
                player.temperature,
                player.max_tokens,
                seed=Random(place).getrandbits(63),
                schema=player.style.schema,
                purpose=player.purpose,
            )
        )
        return player.style.codec.decode(reply.text), reply.text


class Conversation:
    """A transcript as one seat's messages: the system's, then the user's and its own in turn.

    Own turns are written as the codec writes them, not as the model did: private notes are not
    shown to it again. What was put into messages once is kept, so that a turn costs what is new in
    it. Turns are told in the order of the transcript, also where two seats acted at the same time.
    """

    def __init__(self, style: PromptStyle, view: View) -> None:
        self._style, self._view = style, view
        self._messages: list[Message] = []
        self._heard: list[Turn] = []
        self._refusal = ""
        self._turns_told = 0

    def read(self, observation: Observation) -> tuple[Message, ...]:
        """All messages up to now; the last one is not the assistant's.

        Args:
            observation: the first one, or one that goes on from the one before it.
        """
        if not self._messages:
            self._messages.append(Message("system", self._style.system(self._view)))
        end = len(observation.turns) + observation.turns_left
        for turn in observation.turns[self._turns_told :]:
            if turn.seat == self._view.seat:
                self._messages += self._news(end - turn.index)
                self._messages.append(Message("assistant", self._style.codec.encode(turn.action)))
                self._heard = []
                fault = turn.action.invalid
                self._refusal = self._style.refused(fault) if fault else ""
            else:
                self._heard.append(turn)
        self._turns_told = len(observation.turns)
        return (*self._messages, *self._news(observation.turns_left))

    def _news(self, turns_left: int) -> tuple[Message, ...]:
        """What came since the last own turn; no message only where a style begins without one."""
        heard = self._heard
        if not heard and len(self._messages) > 1:
            heard = [silence(self._view)]
        text = self._style.message(self._view, heard, turns_left)
        return (Message("user", f"{self._refusal}{text}"),) if text else ()
