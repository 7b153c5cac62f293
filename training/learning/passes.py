"""Switches for passes of a model: mode, device, precision, checkpointing; undone at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from engines.precision import has_bfloat16
from training.config import Precision


@contextmanager
def mode(model: PreTrainedModel, *, training: bool) -> Iterator[None]:
    """Switch a model to training or evaluation mode inside, and back at the end."""
    before = model.training
    model.train(training)
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
    """Checkpoint activations inside, if wanted: layers keep their inputs and recompute the rest."""
    if not wanted:
        yield
        return
    # The re-entrant form would ask for inputs that need gradients; token ids have none.
    _switch(model, "enable")({"use_reentrant": False})
    try:
        yield
    finally:
        _switch(model, "disable")()


def _switch(model: PreTrainedModel, what: str) -> Callable[..., None]:
    """The method that enables or disables checkpointing, by its newer or its older name."""
    new = getattr(model, f"activation_checkpointing_{what}", None)
    method: Callable[..., None] = new or getattr(model, f"gradient_checkpointing_{what}")
    return method
