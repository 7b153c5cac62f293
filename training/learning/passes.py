"""How a model is set for passes over rows, and set back at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel


@contextmanager
def mode(model: PreTrainedModel, *, training: bool) -> Iterator[None]:
    """Switch between training and evaluation, and back at the end."""
    before = model.training
    model.train(training)
    try:
        yield
    finally:
        model.train(before)


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
