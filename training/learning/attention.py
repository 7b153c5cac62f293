"""Attention masks for packed rows: what each column attends to, for each attention kernel.

Rows are laid out depth first, each token followed by everything that continues it. So one number
per column is enough: a column is seen by itself and by the columns after it up to, not including,
its `until`.

Axis suffixes: `_R` rows, `_T` columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

_BANDED, _FLEX = "banded_sdpa", "flex_attention"
_BAND = 256
"""Queries of one band. Rows of up to two bands are not cut: there would be little to skip."""


def mask_of(model: PreTrainedModel, until_RT: Tensor) -> Tensor | BlockMask:
    """Build the mask that the model's attention takes as `attention_mask` of its forward pass."""
    if model.config._attn_implementation == _FLEX:
        return block_mask(until_RT)
    device = model.device.type
    autocast = torch.is_autocast_enabled(device)
    return dense_mask(until_RT, torch.get_autocast_dtype(device) if autocast else model.dtype)


def dense_mask(until_RT: Tensor, dtype: torch.dtype) -> Tensor:
    """Build the mask that is added to attention scores: 0 where seen, else the least number.

    Returns:
        Shape (R, 1, T, T): row, head, query, key.
    """
    column_T = torch.arange(until_RT.shape[1], device=until_RT.device)
    query_T1 = column_T[:, None]
    seen = (column_T <= query_T1) & (query_T1 < until_RT[:, None])
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def block_mask(until_RT: Tensor) -> BlockMask:
    """Build the mask for FlexAttention, which skips the blocks that no column sees."""
    rows, width = until_RT.shape

    def seen(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < until_RT[row, key])

    return create_block_mask(
        seen, B=rows, H=None, Q_LEN=width, KV_LEN=width, device=str(until_RT.device)
    )


@contextmanager
def row_attention(model: PreTrainedModel) -> Iterator[None]:
    """Make a model that runs SDPA run the kernel that suits packed rows on its device, inside.

    FlexAttention on CUDA; elsewhere SDPA on bands of queries. Backward passes belong inside, too.
    Other attention than SDPA was chosen by the user and stays.
    """
    config = model.config
    before = config._attn_implementation
    if before == "sdpa":
        config._attn_implementation = _FLEX if model.device.type == "cuda" else _BANDED
    try:
        yield
    finally:
        config._attn_implementation = before


def _banded_sdpa(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """SDPA on the keys that a band of queries can see, which are those up to its end.

    With a mask, SDPA on a CPU computes what lies behind the diagonal, too: half of a wide row.
    """
    width = query.shape[2]
    if attention_mask is None or width <= 2 * _BAND:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    outputs = []
    for start in range(0, width, _BAND):
        end = min(start + _BAND, width)
        output, _ = sdpa_attention_forward(
            module,
            query[:, :, start:end],
            key[:, :, :end],
            value[:, :, :end],
            attention_mask[:, :, start:end, :end],
            **options,
        )
        outputs.append(output)
    return torch.cat(outputs, dim=1), None


AttentionInterface.register(_BANDED, _banded_sdpa)
