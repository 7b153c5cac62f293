"""Switches for passes of a model: mode, device, precision, checkpointing; undone at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from engines.precision import has_bfloat16
from envs.errors import TrainingError
from training.config import Precision


@contextmanager
def deterministic(model: PreTrainedModel) -> Iterator[None]:
    """Compute as in play inside, without dropout and what else training adds; undone at the end.

    A log-ratio would be noise if the policy were measured with dropout and its reference without.
    """
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)


def fused(model: PreTrainedModel) -> bool | None:
    """Tell whether AdamW should step in one kernel: on a GPU, where other ways copy all weights."""
    return True if model.device.type == "cuda" else None


def low_precision(model: PreTrainedModel, precision: Precision) -> torch.autocast:
    """Compute matrix products in this precision inside; "float32" leaves the model as it is."""
    low = precision == "bfloat16" or (precision == "auto" and has_bfloat16(model.device.type))
    # Kept casts of all weights would be a second model in memory.
    return torch.autocast(model.device.type, torch.bfloat16, enabled=low, cache_enabled=False)


def move(model: PreTrainedModel, device: torch.device | str | None) -> PreTrainedModel:
    """Move a model to a device in place and return it; None leaves it where it is."""
    return torch.nn.Module.to(model, device)  # the model's own is typed as if it took no device


@contextmanager
def on_device(model: PreTrainedModel, device: torch.device | None) -> Iterator[None]:
    """Move a model to a device inside, and back at the end; None leaves it where it is."""
    before = model.device
    if device in (None, before):
        yield
        return
    move(model, device)
    try:
        yield
    finally:
        move(model, before)


@contextmanager
def checkpointed(model: PreTrainedModel, wanted: bool) -> Iterator[None]:
    """Checkpoint activations inside, if wanted: layers keep their inputs and recompute the rest.

    transformers does so in training mode only, which brings dropout with it.

    Raises:
        TrainingError: the model has no layers that can be recomputed.
    """
    if not wanted:
        yield
        return
    layers = [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)]
    if not layers:
        raise TrainingError(
            f"{type(model).__name__} has no layers whose activations can be recomputed; set "
            "cloning.checkpointing=false update.checkpointing=false."
        )
    config = model.config.get_text_config()
    before, config.use_cache = getattr(config, "use_cache", None), False  # written only once
    for layer in layers:
        # The re-entrant form would ask for inputs that need gradients; token ids have none.
        once = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
        vars(layer)["forward"] = once
    try:
        yield
    finally:
        config.use_cache = before
        for layer in layers:
            del vars(layer)["forward"]
