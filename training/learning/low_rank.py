"""Low-rank training: beside each linear layer a small change learns, and is added at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from training.config import LoraConfig


@contextmanager
def low_rank(model: PreTrainedModel, config: LoraConfig, *, seed: int) -> Iterator[float]:
    """Inside, `model` learns changes of low rank alone, where the options say so.

    At the end they are part of its weights, also after an error, and the model is as it was: so
    the reference that it started from is itself with no change, and needs no copy.

    Args:
        seed: of the changes' first factors; the second ones start at 0.

    Yields:
        By what to multiply step sizes.
    """
    if config.rank is None:
        yield 1.0
        return
    import peft

    learnt = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    changes = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        changed = peft.LoraModel(model, changes, "default")
    try:
        yield config.learning_rate_factor
    finally:
        changed.merge_and_unload()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(learnt[name])
