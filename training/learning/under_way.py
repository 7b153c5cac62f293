"""Training that is under way, kept in a file now and then: who is stopped goes on from there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.optim import AdamW
from transformers import PreTrainedModel

from envs.errors import CheckpointError
from training.storage.files import flush, make_folder, part_of, writing

SECONDS_BETWEEN_SAVES = 300.0
"""A stage that is shorter writes nothing."""

_MOMENTS = ("exp_avg", "exp_avg_sq")


class UnderWay:
    """Weights, AdamW's state and losses of a training under way, in one file.

    What it continues from is the same bit for bit.

    Args:
        file: where it is kept; removed by `done`.
        clock: the time in seconds, from any start.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._clock = file, clock
        self._saved = clock()

    def restore(self, model: PreTrainedModel, optimiser: AdamW) -> list[float]:
        """Bring back what was kept; returns the losses of the steps so far, none at the start.

        Raises:
            CheckpointError: the file is damaged, or of another model.
        """
        if not self._file.is_file():
            return []
        try:
            with safe_open(self._file, "pt", device=str(model.device)) as kept:
                losses: list[float] = json.loads(kept.metadata()["losses"])
                for name, weight in _trained(model).items():
                    with torch.no_grad():
                        weight.copy_(kept.get_tensor(name))
                    moments = {m: kept.get_tensor(f"{m}/{name}") for m in _MOMENTS}
                    step = torch.tensor(float(len(losses)))
                    if optimiser.defaults["fused"]:  # its kernel wants the count beside the weights
                        step = step.to(weight.device)
                    optimiser.state[weight] = {"step": step, **moments}
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{self._file} cannot be continued from ({error}); delete it, and the stage starts "
                "again."
            ) from error
        return losses

    def save_now_and_then(
        self, model: PreTrainedModel, optimiser: AdamW, losses: list[float]
    ) -> None:
        """Keep the state after a step, if the last time is long enough ago.

        Raises:
            DiskError: it cannot be written.
        """
        if self._clock() - self._saved < SECONDS_BETWEEN_SAVES:
            return
        tensors = {}
        for name, weight in _trained(model).items():
            tensors[name] = weight.detach().contiguous()
            for moment in _MOMENTS:
                tensors[f"{moment}/{name}"] = optimiser.state[weight][moment].contiguous()
        part = part_of(self._file)
        try:
            with writing(self._file):
                make_folder(self._file.parent)
                save_file(tensors, part, metadata={"losses": json.dumps(losses)})
                flush(part)
                os.replace(part, self._file)
                flush(self._file.parent)
        finally:
            part.unlink(missing_ok=True)
        self._saved = self._clock()

    def done(self) -> None:
        """Remove the file: the stage has ended."""
        self._file.unlink(missing_ok=True)


def _trained(model: PreTrainedModel) -> dict[str, torch.nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
