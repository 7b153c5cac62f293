"""Widens attention heads for vLLM on CPUs, which supports a few sizes only.

The model computes the same. A head of size d becomes one of size D > d by zeros between the halves
that rotary positions turn together. Zeros add nothing to a score. The base of the rotary angles
becomes theta^(D/d), so that the angles of the first d/2 pairs stay, and queries grow by sqrt(D/d),
since scores are then divided by sqrt(D). Log-probs agree up to rounding.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from transformers import PretrainedConfig

from envs.errors import EngineError

Named = Iterable[tuple[str, Tensor]]


def widened_config(config: PretrainedConfig, sizes: Iterable[int]) -> PretrainedConfig:
    """The configuration with the smallest head size of `sizes` that holds the model's own.

    Raises:
        EngineError: the heads have none of these sizes and cannot be widened.
    """
    size = head_size(config)
    if size in (known := sorted(sizes)):
        return config
    larger = next((known_size for known_size in known if known_size > size), None)
    rope = dict(getattr(config, "rope_parameters", None) or {})
    if larger is None or config.model_type != "llama" or rope.get("rope_type") != "default":
        raise EngineError(
            f"The model's attention heads have size {size}, but vLLM on this machine has "
            f"{', '.join(map(str, known))} only, and heads of a {config.model_type} are not "
            "widened; choose engine=local."
        )
    rope["rope_theta"] = rope["rope_theta"] ** (larger / size)
    wide = copy.deepcopy(config)
    wide.head_dim, wide.rope_parameters = larger, rope
    return wide


def widened_weights(named: Named, size: int, wide: int) -> Iterator[tuple[str, Tensor]]:
    """The weights of a model whose heads of `size` became `wide`; the same where these are equal.

    Args:
        named: names and tensors as a Llama in transformers has them.
    """
    half = size // 2
    place = torch.cat([torch.arange(half), wide // 2 + torch.arange(size - half)])
    for name, tensor in named:
        layer = name.rsplit(".", 2)[-2] if name.count(".") > 1 else ""
        if size == wide or layer not in ("q_proj", "k_proj", "v_proj", "o_proj"):
            yield name, tensor
        elif layer == "o_proj":
            yield name, _spread(tensor.T, size, wide, place).T.contiguous()
        else:
            scale = math.sqrt(wide / size) if layer == "q_proj" else 1.0
            yield name, scale * _spread(tensor, size, wide, place)


def head_size(config: PretrainedConfig) -> int:
    """How many numbers one attention head has."""
    config = config.get_text_config()
    size = getattr(config, "head_dim", None)
    return int(size or config.hidden_size // config.num_attention_heads)


def _spread(rows: Tensor, size: int, wide: int, place: Tensor) -> Tensor:
    """Rows of heads, (heads * size, ...), with zeros between, (heads * wide, ...)."""
    heads = rows.shape[0] // size
    spread = rows.new_zeros(heads, wide, *rows.shape[1:])
    spread[:, place.to(rows.device)] = rows.reshape(heads, size, *rows.shape[1:])
    return spread.flatten(0, 1)
