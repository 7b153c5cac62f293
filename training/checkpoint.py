"""Checkpoints: Hugging Face folders with trainer state and the SHA-256 of every file.

A checkpoint is written beside its place and renamed into it, so that a folder of the right name is
always a whole one. Weights are safetensors; nothing is ever pickled.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import CheckpointError
from training.files import flush, to_json, write_text

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MANIFEST = "manifest.json"
TRAINER_STATE = "trainer_state.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint folder holds."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    trainer_state: dict[str, Any]


def save_checkpoint(
    folder: Path | str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    trainer_state: Mapping[str, object],
) -> Path:
    """Write a folder that `AutoModelForCausalLM` and vLLM load; replaces an older one whole.

    Args:
        trainer_state: whatever training needs to go on, as JSON.
    """
    folder = Path(folder)
    part = folder.with_name(f".{folder.name}.part")
    old = folder.with_name(f".{folder.name}.old")
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir(parents=True)
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    write_text(part / TRAINER_STATE, to_json(trainer_state, indent=2))
    sums = {name: _sha256(part / name) for name in _file_names(part)}
    write_text(part / MANIFEST, to_json({"sha256": sums}, indent=2))
    for name in sums:
        flush(part / name)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def verify_checkpoint(folder: Path | str) -> None:
    """Compare every file with the manifest.

    Raises:
        CheckpointError: a file is missing or changed; the message names it.
    """
    folder = Path(folder)
    for name, expected in _manifest(folder).items():
        file = folder / name
        if not file.is_file():
            raise CheckpointError(
                f"{file} is missing, but the checkpoint's manifest lists it: copy the whole folder "
                "again, or take the checkpoint before this one."
            )
        got = _sha256(file)
        if got != expected:
            raise CheckpointError(
                f"{file} has SHA-256 {got[:12]}..., but the manifest says {expected[:12]}...: it "
                "was changed or damaged. Copy it again, or take the checkpoint before this one."
            )


def load_checkpoint(folder: Path | str, *, dtype: torch.dtype | None = None) -> Checkpoint:
    """Verify a checkpoint and load it on the CPU, without running any code from the folder.

    Args:
        dtype: of the weights; float32 unless told.

    Raises:
        CheckpointError: a file is missing or changed.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(folder)
    verify_checkpoint(folder)
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype or torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    tokenizer = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    state = json.loads((folder / TRAINER_STATE).read_text(encoding="utf-8"))
    return Checkpoint(model, tokenizer, state)


def weights_version(weights: PreTrainedModel | Path | str) -> str:
    """A name for exactly these weights: the same for a model and for the folder it is saved in.

    Returns:
        The first 12 hex digits of the SHA-256 over names, types, shapes and bytes in name order;
        a tied tensor counts once, under the name it is saved by.
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
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder} has no *.safetensors file: name a checkpoint's folder.")
    return [item for file in files for item in load_file(file).items()]


def _raw_bytes(tensor: torch.Tensor) -> bytes:
    import torch

    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes()


def _manifest(folder: Path) -> dict[str, str]:
    try:
        sums = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / MANIFEST} is missing or cannot be read ({error!r}), so the checkpoint "
            "cannot be trusted: name the folder of a finished checkpoint, checkpoints/NNNN."
        ) from error
    return dict(sums)


def _file_names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
