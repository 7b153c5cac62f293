"""Saves and loads checkpoints: Hugging Face folders with trainer state and SHA-256 checksums.

A checkpoint is written to a temporary folder and renamed when it is complete, so a folder with the
final name is never partial. Weights are safetensors; nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import CheckpointError
from training.storage.files import flush, to_json, write_text
from training.storage.hub import fetch_model, is_on_hub
from training.storage.run_files import CHECKPOINTS

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MANIFEST = "manifest.json"
TRAINER_STATE = "trainer_state.json"
AVERAGE = "average"
"""The average's subfolder: a loader of the policy reads every safetensors file beside it."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        trainer_state: what training needs to continue, as JSON values.
        average: the moving average of the weights, if that is the reference policy; else None.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    trainer_state: dict[str, Any]
    average: PreTrainedModel | None = None


def save_checkpoint(
    folder: Path | str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    trainer_state: Mapping[str, object],
    average: PreTrainedModel | None = None,
) -> Path:
    """Write a folder that `AutoModelForCausalLM` and vLLM can load; replaces an existing one.

    Args:
        trainer_state, average: see `Checkpoint`.
    """
    folder = Path(folder)
    part = folder.with_name(f".{folder.name}.part")
    old = folder.with_name(f".{folder.name}.old")
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir(parents=True)
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    if average is not None:
        average.save_pretrained(part / AVERAGE)
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
    """Check that every file has the SHA-256 that the manifest lists.

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
        dtype: of the weights; None means float32.

    Raises:
        CheckpointError: a file is missing or changed.
    """
    folder = Path(folder)
    verify_checkpoint(folder)
    model, tokenizer = load_pretrained(folder, dtype=dtype)
    state = json.loads((folder / TRAINER_STATE).read_text(encoding="utf-8"))
    average = _load_model(folder / AVERAGE, dtype) if (folder / AVERAGE).is_dir() else None
    return Checkpoint(model, tokenizer, state, average)


def bc_checkpoint_of(name: str) -> Path | None:
    """The behaviour-cloned checkpoint (0000) of the run that a checkpoint belongs to.

    Returns:
        None if `name` is that checkpoint itself, or no checkpoint of a run.
    """
    folder = Path(name).resolve()
    bc = folder.with_name("0000")
    in_a_run = folder.parent.name == CHECKPOINTS and (bc / MANIFEST).is_file()
    return bc if in_a_run and bc != folder else None


def load_pretrained(
    folder: Path | str, *, dtype: torch.dtype | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load any Hugging Face model and its tokenizer on the CPU, without running code from it.

    Args:
        folder: a folder, or an address on the hub, hf://OWNER/NAME.
        dtype: of the weights; None means float32.

    Raises:
        ConfigError: the hub does not have the model, or does not answer.
    """
    from transformers import AutoTokenizer

    if is_on_hub(str(folder)):
        folder = fetch_model(str(folder))
    tokenizer = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    return _load_model(folder, dtype), tokenizer


def _load_model(folder: Path | str, dtype: torch.dtype | None) -> PreTrainedModel:
    import torch
    from transformers import AutoModelForCausalLM

    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype or torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    return model


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
