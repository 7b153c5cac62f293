"""Players without a model whose turns are written as a policy would say them, to be learned from.

A scripted expert has no tokens. Seated here, each of its actions becomes the reply that would have
said it, behind the very stream that the policy has read, so that an expert can continue what a
policy began and be compared with it token by token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agents.base import Agent, Move, Player
from agents.chat_template import ChatTemplate
from agents.prompts import PromptStyle
from agents.token_history import TokenHistory
from engines.types import Generation, Sampling
from envs.scenarios.task import Task
from envs.types import Observation, View

WRITTEN = "written"
"""What the weights version of a written turn begins with: no weights made it."""

Note = Callable[[Task, Observation], str]
"""The private words before a reply, as the policy was taught to think them; "" for none."""

_NOT_DRAWN = Sampling(temperature=0.0, max_new_tokens=0)


@dataclass(frozen=True, slots=True)
class Demonstrator:
    """A player whose turns are written down as replies.

    Attributes:
        player: who chooses the actions.
    """

    player: Player
    stream: ChatTemplate
    style: PromptStyle
    note: Note

    @property
    def id(self) -> str:
        return f"{WRITTEN}/{self.player.id}"

    def sit(
        self,
        view: View,
        task: Task | None,
        *,
        seed: int,
        persona: int,
        past: tuple[Generation, ...] = (),
    ) -> Agent:
        agent = self.player.sit(view, task, seed=seed, persona=persona)
        return _Writing(self, agent, task, TokenHistory(self.stream, self.style, past))


class _Writing:
    """One seat whose actions are written down."""

    def __init__(
        self, player: Demonstrator, agent: Agent, task: Task | None, hearing: TokenHistory
    ) -> None:
        self._player, self._agent, self._task, self._hearing = player, agent, task, hearing

    async def act(self, observation: Observation) -> Move:
        player = self._player
        context_ids = self._hearing.context(observation)
        action = (await self._agent.act(observation)).action
        note = player.note(self._task, observation) if self._task else ""
        words = " ".join(filter(None, (note, player.style.codec.encode(action))))
        token_ids = player.stream.encode_reply(words)
        self._hearing.append(context_ids, token_ids)
        # Not drawn, so that each token was certain: log-probability 0.
        logps = (0.0,) * len(token_ids)
        generation = Generation(context_ids, token_ids, logps, _NOT_DRAWN, 0, player.id)
        return Move(action, generation)
