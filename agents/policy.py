"""A player whose words come from a text engine: the policy under training, or a frozen one."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from agents.base import Agent, Move
from agents.chat_template import ChatTemplate
from agents.prompts import PromptStyle
from agents.token_history import TokenHistory
from engines.types import Engine, Generation, Sampling
from envs.scenarios.task import Task
from envs.types import Observation, View


@dataclass(frozen=True, slots=True)
class ModelPlayer:
    """A model behind an engine, with its tokenizer and its prompt style.

    Attributes:
        name: what reports call it; the weights version is added by each generation.
    """

    name: str
    engine: Engine
    stream: ChatTemplate
    style: PromptStyle
    sampling: Sampling

    @property
    def id(self) -> str:
        return self.name

    def sit(
        self,
        view: View,
        task: Task | None,
        *,
        seed: int,
        persona: int,
        past: tuple[Generation, ...] = (),
    ) -> Agent:
        return _SeatedModel(self, seed, past)


class _SeatedModel:
    """A model in one seat."""

    def __init__(self, player: ModelPlayer, seed: int, past: tuple[Generation, ...]) -> None:
        self._player, self._seed = player, seed
        self._hearing = TokenHistory(player.stream, player.style, past)

    async def act(self, observation: Observation) -> Move:
        player, hearing = self._player, self._hearing
        context_ids = hearing.context(observation)
        seed = Random(f"{self._seed}/{len(observation.turns)}").getrandbits(63)
        prompt_ids = hearing.ids + context_ids
        done = await player.engine.generate(prompt_ids, player.sampling, seed=seed)
        hearing.append(context_ids, done.token_ids)
        generation = Generation(
            context_ids, done.token_ids, done.logps, player.sampling, seed, done.weights_version
        )
        action = player.style.codec.decode(player.stream.decode(done.token_ids))
        return Move(action, generation)
