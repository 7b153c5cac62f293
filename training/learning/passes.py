"""How a model is set for passes over rows, and set back at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from training.config import Precision


@contextmanager
def mode(model: PreTrainedModel, *, training: bool) -> Iterator[None]:
    """Switch between training and evaluation, and back at the end."""
    before = model.training
    model.train(training)
    try:
        yield
    finally:
        model.train(before)


def fused(model: PreTrainedModel) -> bool | None:
    """Whether AdamW steps in one kernel: on a GPU, where its other way copies all weights."""
    return True if model.device.type == "cuda" else None


def low_precision(model: PreTrainedModel, precision: Precision) -> torch.autocast:
    """Inside, matrix products are made in this precision; "float32" leaves the model as it is."""
    # Kept casts of all weights would be a second model in memory.
    return torch.autocast(
        model.device.type, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False
    )


def move(model: PreTrainedModel, device: torch.device | str | None) -> PreTrainedModel:
    """Bring a model to a device, in place; None leaves it where it is. Returns it."""
    return torch.nn.Module.to(model, device)  # the model's own is typed as if it took no device


@contextmanager
def brought_to(model: PreTrainedModel, device: torch.device | None) -> Iterator[None]:
    """Have a model on a device, and bring it back at the end; None leaves it where it is."""
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
    """Where wanted, keep of each layer only what goes into it until the backward pass."""
    if not wanted:
        yield
        return
    # The re-entrant form would ask for inputs that need gradients; token ids have none.
    _named(model, "enable")({"use_reentrant": False})
    try:
        yield
    finally:
        _named(model, "disable")()


def _named(model: PreTrainedModel, what: str) -> Callable[..., None]:
    """The method by the name that newer releases of transformers give it, or by its older one."""
    new = getattr(model, f"activation_checkpointing_{what}", None)
    method: Callable[..., None] = new or getattr(model, f"gradient_checkpointing_{what}")
    return method
