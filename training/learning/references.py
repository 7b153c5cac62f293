"""Reference models: frozen copies and moving averages of the policy."""

from __future__ import annotations

import copy

import torch
from transformers import PreTrainedModel


def frozen_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the model without gradients."""
    return copy.deepcopy(model).requires_grad_(False)


def move_average(average: PreTrainedModel, model: PreTrainedModel, decay: float) -> None:
    """Set each weight of `average` to decay * itself + (1 - decay) * that of `model`, in place."""
    with torch.no_grad():
        for kept, new in zip(average.parameters(), model.parameters(), strict=True):
            kept.lerp_(new.to(kept.device), 1 - decay)
