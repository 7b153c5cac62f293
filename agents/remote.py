"""A chat model behind an API as a player, from the start of an episode or from its middle.

Its messages depend on nothing but what the seat sees. A branch therefore sends the same requests as
its parent did up to the branch point, and they are answered from the answer cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from agents.base import Agent, Move, Seat
from agents.prompts import PromptStyle, idle_turn
from engines.chat import Chat, ChatRequest, Message, Reply
from envs.errors import RemoteError
from envs.types import Action, Observation, Turn, View

ASKS_AGAIN = 1
"""How often a reply that cannot be read is sent back, unless a player says otherwise."""


@dataclass(frozen=True, slots=True)
class RemotePlayer:
    """A chat model with a prompt style.

    Attributes:
        temperature: None leaves it to the provider, for models that take none.
        max_tokens: a reply is cut after that many tokens; models that think need room for it.
        asks_again: how often at most a reply that cannot be read is sent back with the reason;
            after that the turn is an invalid action, or, where the reply was empty, cut, filtered
            or refused, the episode cannot be played on. 0 never asks again.
        purpose: the ledger account that its calls are counted in.
    """

    chat: Chat
    style: PromptStyle
    temperature: float | None = 0.7
    max_tokens: int = 512
    asks_again: int = ASKS_AGAIN
    purpose: Literal["partner", "policy", "demonstrations"] = "partner"

    @property
    def id(self) -> str:
        return self.chat.id

    def sit(self, seat: Seat) -> Agent:
        return _SeatedChat(self, Conversation(self.style, seat.view), seat.seed)


class _SeatedChat:
    """One seat's side of the conversation with the model."""

    def __init__(self, player: RemotePlayer, conversation: Conversation, seed: int) -> None:
        self._player, self._conversation, self._seed = player, conversation, seed
        self._view = conversation.view

    async def act(self, observation: Observation) -> Move:
        messages = self._conversation.read(observation)
        place = f"{self._seed}/{len(observation.turns)}"
        action, reply = await self._ask(messages, place)
        for attempt in range(1, self._player.asks_again + 1):
            if action.invalid is None:
                break
            correction = (
                Message("assistant", reply.text or "..."),
                Message("user", f"That could not be read: {action.invalid} Answer again."),
            )
            action, reply = await self._ask((*messages, *correction), f"{place}/{attempt}")
        if action.invalid is not None and reply.fault is not None:
            raise RemoteError(f"{self._player.id} {reply.fault}.")  # nothing was said to be scored
        return Move(action)

    async def _ask(self, messages: tuple[Message, ...], place: str) -> tuple[Action, Reply]:
        player = self._player
        reply = await player.chat.ask(
            ChatRequest(
                messages,
                player.temperature,
                player.max_tokens,
                seed=Random(place).getrandbits(63),
                schema=player.style.schema(self._view),
                purpose=player.purpose,
            )
        )
        if reply.is_blocked:
            raise RemoteError(f"{player.id} {reply.fault}.")
        return player.style.codec.decode(reply.text), reply


class Conversation:
    """A transcript as one seat's messages: the system's, then user and assistant in turn.

    Own turns are written as the codec writes them, not as the model did, so that it does not see
    its private notes again. Messages are kept and only the new turns are added. Turns appear in the
    order of the transcript, also where two seats acted at the same time.
    """

    def __init__(self, style: PromptStyle, view: View) -> None:
        self._style, self.view = style, view
        self._messages: list[Message] = []
        self._others_turns: list[Turn] = []
        self._last: Action | None = None
        self._turns_read = 0

    def read(self, observation: Observation) -> tuple[Message, ...]:
        """All messages up to now; the last one is not the assistant's.

        Args:
            observation: the first one, or one that goes on from the one before it.
        """
        if not self._messages:
            self._messages.append(Message("system", self._style.system(self.view)))
        end = len(observation.turns) + observation.turns_left
        for turn in observation.turns[self._turns_read :]:
            if turn.seat == self.view.seat:
                self._messages += self._user_message(end - turn.index)
                self._messages.append(Message("assistant", self._style.codec.encode(turn.action)))
                self._others_turns, self._last = [], turn.action
            else:
                self._others_turns.append(turn)
        self._turns_read = len(observation.turns)
        return (*self._messages, *self._user_message(observation.turns_left))

    def _user_message(self, turns_left: int) -> tuple[Message, ...]:
        """What came since the last own turn; no message only where a style begins without one."""
        turns = self._others_turns
        if not turns and len(self._messages) > 1:
            turns = [idle_turn(self.view)]
        text = self._style.message(self.view, turns, turns_left, self._last)
        return (Message("user", text),) if text else ()
