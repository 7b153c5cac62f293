"""The collector: a policy of an earlier iteration that plays while data is collected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from transformers import PreTrainedModel

from agents.base import Player
from engines.types import LoadedEngine
from training.config import CollectConfig
from training.storage.pretrained import load_pretrained


def collecting_iteration(iteration: int, refresh_every: int | None, *, ahead: bool = False) -> int:
    """The iteration whose checkpoint plays in `iteration`; 0 is the behaviour-cloned policy.

    Args:
        iteration: counts from 1.
        refresh_every: see `CollectConfig`; None never refreshes.
        ahead: whether it plays during the update before, whose result it cannot have.
    """
    if refresh_every is None:
        return 0
    return max(0, iteration - 1 - ahead) // refresh_every * refresh_every


class Collector:
    """Plays while data is collected, where that is not the policy under training.

    Args:
        player: sits where the policy does, with weights of its own behind `engine`.
        folder_of: the checkpoint folder of an iteration.
        model: the weights to start with, those of the behaviour-cloned policy.
    """

    def __init__(
        self,
        player: Player,
        engine: LoadedEngine,
        model: PreTrainedModel,
        config: CollectConfig,
        folder_of: Callable[[int], Path],
    ) -> None:
        self.player, self.model = player, model
        self._engine, self._config, self._folder_of = engine, config, folder_of
        self._iteration = 0

    @property
    def weights_version(self) -> str:
        """The version of the weights that play now."""
        return self._engine.weights_version

    def turn_to(self, iteration: int) -> None:
        """Load the weights that play in `iteration` from their checkpoint."""
        every, ahead = self._config.refresh_every, self._config.ahead
        wanted = collecting_iteration(iteration, every, ahead=ahead)
        if wanted != self._iteration:
            self.model, _ = load_pretrained(self._folder_of(wanted))
            self._engine.publish(self.model)
            self._iteration = wanted
