"""The engines of a run: one for each model that is loaded here; they sleep during updates."""

from __future__ import annotations

import copy

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engines.batcher import Batcher
from engines.types import LoadedEngine
from training.config.engine import EngineConfig


class Engines:
    """Makes the engines of a run and puts them to sleep, wakes and closes them together."""

    def __init__(self, config: EngineConfig, batcher: Batcher) -> None:
        self._config, self._batcher = config, batcher
        self._engines: list[LoadedEngine] = []

    def load(
        self,
        model: PreTrainedModel,
        stop_ids: tuple[int, ...],
        *,
        changes: bool,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> LoadedEngine:
        """An engine with the weights of `model`.

        Args:
            stop_ids: the tokens that end a turn.
            changes: whether weights will be published to it, so that it must not share the model's.
            tokenizer: the model's, if its replies are to match patterns.

        Raises:
            EngineError: vLLM cannot be had, or cannot run the model; or patterns cannot be used
                with the tokenizer.
        """
        made = self._make(model, stop_ids, changes, tokenizer)
        self._engines.append(made)
        return made

    def sleep(self) -> None:
        """Free the GPU's memory for the trainer."""
        for engine in self._engines:
            engine.sleep()

    def wake(self) -> None:
        """Make all engines ready to generate."""
        for engine in self._engines:
            engine.wake()

    def close(self) -> None:
        """Close all engines."""
        for engine in self._engines:
            engine.close()

    def _make(
        self,
        model: PreTrainedModel,
        stop_ids: tuple[int, ...],
        changes: bool,
        tokenizer: PreTrainedTokenizerBase | None,
    ) -> LoadedEngine:
        config, spec = self._config, self._config.spec
        own = copy.deepcopy(model) if changes and spec.shares_weights else model
        options = config.options_for(spec)
        more = {"tokenizer": tokenizer} if spec.constrains else {}
        made: LoadedEngine = spec.make(own, stop_ids, self._batcher, options, **more)
        return made
