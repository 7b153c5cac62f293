"""Rotary frequencies that a GGUF file scales: transformers reads the weights and leaves them out.

llama.cpp's converter writes the scaling of Llama 3.1 and later as a tensor of factors, one for each
pair of dimensions. Without them such a model speaks, and a little wrong at every position.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import ConfigError
from training.storage.gguf_header import GgufHeader, read_header

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_FACTORS = "rope_freqs.weight"
_FLOAT32 = 0
_LLAMA3 = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
"""What all Llamas from 3.1 on have in common; their factors are 8 and 32."""


def restore_scaling(config: PretrainedConfig, file: Path) -> None:
    """Put the scaling of the file's rotary frequencies into the configuration read from it.

    Raises:
        ConfigError: the file scales them in a way that is not Llama 3's.
    """
    header = read_header(file)
    kind = header.values.get(f"{header.architecture}.rope.scaling.type", "none")
    others = sorted(name for name in header.tensors if name.startswith("rope_factors"))
    if kind != "none" or others:
        raise _unknown(file, f"by {kind!r}" if kind != "none" else f"by {others[0]}")
    if _FACTORS not in header.tensors:
        return
    factors = _read_factors(file, header)
    if all(factor == 1.0 for factor in factors):
        return
    base: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    config.rope_parameters = base | _LLAMA3 | {"factor": round(max(factors), 6)}
    if not _alike(factors, _factors_of(config)):
        raise _unknown(file, f"by the tensor {_FACTORS}, and not as Llama 3 does")


def _read_factors(file: Path, header: GgufHeader) -> tuple[float, ...]:
    shape, kind, offset = header.tensors[_FACTORS]
    if len(shape) != 1 or kind != _FLOAT32:
        raise _unknown(file, f"by a tensor {_FACTORS} that is no row of 32-bit floats")
    form = f"<{shape[0]}f"
    with file.open("rb") as stream:
        stream.seek(header.data_start + offset)
        read = stream.read(struct.calcsize(form))
    if len(read) != struct.calcsize(form):
        raise ConfigError(f"{file} ends before its weights do: download it again.")
    return struct.unpack(form, read)


def _factors_of(config: PretrainedConfig) -> list[float]:
    """By how much the configuration divides each frequency."""
    import torch
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    width = 2 * len(scaled)
    theta = config.rope_parameters["rope_theta"]
    plain = 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
    factors: list[float] = (plain / scaled).tolist()
    return factors


def _alike(ones: tuple[float, ...], others: list[float]) -> bool:
    return len(ones) == len(others) and all(
        abs(one - other) <= 1e-3 * other for one, other in zip(ones, others, strict=True)
    )


def _unknown(file: Path, how: str) -> ConfigError:
    return ConfigError(
        f"{file} scales its rotary frequencies {how}, which transformers leaves out when it reads "
        "a GGUF file; give the Hugging Face folder of the model instead."
    )
