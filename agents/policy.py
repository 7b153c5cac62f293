"""A player whose words come from a text engine: the policy under training, or a frozen one."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from agents.base import Agent, Move
from agents.prompts import PromptStyle, silence
from agents.stream import ChatStream
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
    stream: ChatStream
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
    """One seat's token stream: context, reply, context, reply, ..."""

    def __init__(self, player: ModelPlayer, seed: int, past: tuple[Generation, ...]) -> None:
        self._player, self._seed = player, seed
        self._stream: tuple[int, ...] = ()
        self._heard_turns = None if past else 0
        for generation in past:
            self._stream += generation.context_ids + generation.token_ids

    async def act(self, observation: Observation) -> Move:
        player = self._player
        context_ids = self._context(observation)
        prompt_ids = self._stream + context_ids
        seed = Random(f"{self._seed}/{len(observation.turns)}").getrandbits(63)
        done = await player.engine.generate(prompt_ids, player.sampling, seed=seed)
        self._stream = prompt_ids + done.token_ids
        generation = Generation(
            context_ids, done.token_ids, done.logps, player.sampling, seed, done.weights_version
        )
        action = player.style.codec.decode(player.stream.decode(done.token_ids))
        return Move(action, generation)

    def _context(self, observation: Observation) -> tuple[int, ...]:
        """The tokens from the end of the last reply (or the start) to the next reply's start."""
        view, player = observation.view, self._player
        if self._heard_turns is None:  # seated in the middle: all before the last reply is known
            own = [turn.index for turn in observation.turns if turn.seat == view.seat]
            self._heard_turns = max(own, default=-1) + 1
        new = observation.turns[self._heard_turns :]
        self._heard_turns = len(observation.turns)
        heard = [turn for turn in new if turn.seat != view.seat]
        if not heard and self._stream:
            heard = [silence(view)]
        text = player.style.message(view, heard, observation.turns_left)
        if not self._stream:
            return player.stream.opening(player.style.system(view), text)
        return player.stream.between(text, self._stream[-1])
