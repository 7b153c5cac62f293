"""Whether this machine computes in bfloat16, or only emulates it."""

from __future__ import annotations

from functools import cache

import torch


@cache
def has_bfloat16(device: str) -> bool:
    """Whether matrix products in bfloat16 have instructions of their own on "cpu" or "cuda".

    Without them a CPU converts every number by itself, and is up to fifty times slower than in
    float32.
    """
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
