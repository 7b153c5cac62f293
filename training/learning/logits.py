"""Projects hidden states to the vocabulary a chunk at a time: all logits at once may not fit.

With a vocabulary of 49,152 the logits of 4,096 loss tokens, their log-probs and their gradients
would take 2.6 GiB. In chunks only one chunk's are in memory; the backward pass projects each chunk
once more.

Axis suffixes: `_N` loss tokens, `_D` width, `_V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from training.config import Precision
from training.learning.passes import low_precision

CHUNK_LOGITS = 2**25
"""Logits of one chunk; fewer are computed in one piece, with nothing computed twice."""

T = TypeVar("T", bound=Tensor | tuple[Tensor, ...])


def chunk_tokens(vocabulary: int) -> int:
    """Count the loss tokens that are projected at once."""
    return max(1, CHUNK_LOGITS // vocabulary)


def in_chunks(read: Callable[..., T], vocabulary: int, *inputs: Tensor) -> list[T]:
    """Call `read` on stretches of the inputs, all cut along their first axis at the same places.

    Args:
        read: makes logits of its inputs and boils them down; none of them stay in memory.
    """
    size = chunk_tokens(vocabulary)
    if len(inputs[0]) <= size:
        return [read(*inputs)]
    stretches = zip(*(tensor.split(size) for tensor in inputs), strict=True)
    if not torch.is_grad_enabled():
        return [read(*stretch) for stretch in stretches]
    return [
        checkpoint(read, *stretch, use_reentrant=False, preserve_rng_state=False)
        for stretch in stretches
    ]


def logits_of(model: PreTrainedModel, hidden_ND: Tensor, precision: Precision) -> Tensor:
    """Project hidden states to the vocabulary; shape (N, V), float32 at least.

    float32 at least: half precision loses the small differences that preferences are made of.
    """
    head: nn.Module = model.get_output_embeddings()
    with low_precision(model, precision):
        logits_NV: Tensor = head(hidden_ND)
    return logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
