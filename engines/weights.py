"""Versions of weights: a hash that is the same for a model and the folder it is saved in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from envs.errors import CheckpointError


def weights_version(weights: PreTrainedModel | Path | str) -> str:
    """A hash of the weights: the same for a model and for the folder it is saved in.

    Returns:
        The first 12 hex digits of the SHA-256 over names, types, shapes and bytes in name order;
        a tied tensor counts once, under the name that it is saved with.
    """
    tensors = (
        _saved_tensors(Path(weights))
        if isinstance(weights, str | Path)
        else _model_tensors(weights)
    )
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_raw_bytes(tensor))
    return digest.hexdigest()[:12]


def _model_tensors(model: PreTrainedModel) -> Iterable[tuple[str, torch.Tensor]]:
    copies = set(getattr(model, "all_tied_weights_keys", {}))
    return [(name, t) for name, t in model.state_dict().items() if name not in copies]


def _saved_tensors(folder: Path) -> Iterable[tuple[str, torch.Tensor]]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder} has no *.safetensors file: name a checkpoint's folder.")
    return [item for file in files for item in load_file(file).items()]


def _raw_bytes(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes()
