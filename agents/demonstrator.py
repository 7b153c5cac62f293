"""Scripted experts as demonstrators: their actions are written as token ids, to be learned from.

A scripted expert has no tokens. A `Demonstrator` turns each of its actions into the reply with
which a policy would have chosen that action, after the same context tokens. An expert can thus
continue an episode that a policy began, and the two can be compared token by token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from agents.base import Agent, Move, Player, Seat
from agents.chat_template import ChatTemplate
from agents.prompts import PromptStyle
from agents.token_history import TokenHistory
from engines.types import Generation, Sampling
from envs.scenarios.task import Task
from envs.types import Observation

WRITTEN = "written"
"""How the weights version of a written turn begins, since no weights generated it."""

Note = Callable[[Task, Observation, PromptStyle], str]
"""Writes the private note before a reply, as the policy was taught to; "" for none."""

_NOT_DRAWN = Sampling(temperature=0.0, max_new_tokens=0)


@dataclass(frozen=True, slots=True)
class Demonstrator:
    """A player whose actions are written as replies of the policy.

    Attributes:
        player: chooses the actions.
        template, style: those of the policy.
        note: gives the private note before each reply.
    """

    player: Player
    template: ChatTemplate
    style: PromptStyle
    note: Note

    @property
    def id(self) -> str:
        return f"{WRITTEN}/{self.player.id}"

    def sit(self, seat: Seat) -> Agent:
        agent = self.player.sit(replace(seat, past=()))
        history = TokenHistory(self.template, self.style, seat.past)
        return _SeatedDemonstrator(self, agent, seat.task, history)


class _SeatedDemonstrator:
    """One seat whose actions are written down."""

    def __init__(
        self, player: Demonstrator, agent: Agent, task: Task | None, history: TokenHistory
    ) -> None:
        self._player, self._agent, self._task, self._history = player, agent, task, history

    async def act(self, observation: Observation) -> Move:
        player = self._player
        context_ids = self._history.context(observation)
        action = (await self._agent.act(observation)).action
        note = player.note(self._task, observation, player.style) if self._task else ""
        words = " ".join(filter(None, (note, player.style.codec.encode(action))))
        token_ids = player.template.encode_reply(words)
        self._history.append(context_ids, token_ids)
        # Not drawn, so that each token was certain: log-probability 0.
        logps = (0.0,) * len(token_ids)
        generation = Generation(context_ids, token_ids, logps, _NOT_DRAWN, 0, player.id)
        return Move(action, generation)
