"""Saves checkpoints and loads them.

A checkpoint is a Hugging Face folder with trainer state, the options that its turns were learned
with, and SHA-256 checksums.
It is written to a temporary folder and renamed when it is complete, so a folder with the
final name is never partial. Weights are safetensors; nothing is pickled.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import CheckpointError, in_one_line
from training.storage.files import flush, make_folder, read_json, to_json, write_text, writing
from training.storage.learned import LEARNED
from training.storage.manifest import check_files, in_a_run, is_checkpoint, write_manifest
from training.storage.pretrained import load_pretrained, load_weights
from training.storage.run_files import CHECKPOINTS

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

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
    learned: Mapping[str, object] | None = None,
) -> Path:
    """Write a folder that `AutoModelForCausalLM` and vLLM can load; replaces an existing one.

    Args:
        trainer_state, average: see `Checkpoint`.
        learned: how the model has learned to write its turns, from `learned.learned_with`; None
            where nobody reads the folder by its name.

    Raises:
        DiskError: it cannot be written.
    """
    folder = Path(folder)
    part = folder.with_name(f".{folder.name}.part")
    old = folder.with_name(f".{folder.name}.old")
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        with writing(folder):
            make_folder(folder.parent)
            part.mkdir()
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
            if average is not None:
                average.save_pretrained(part / AVERAGE)
            write_text(part / TRAINER_STATE, to_json(trainer_state, indent=2))
            if learned is not None:
                write_text(part / LEARNED, to_json(learned, indent=2))
            write_manifest(part)
            mode = (part / TRAINER_STATE).stat().st_mode
            for weights in part.rglob("*.safetensors"):  # written for their owner's eyes alone
                weights.chmod(mode)
            for path in (*part.rglob("*"), part):  # folders too: the average's has names to keep
                flush(path)
            if folder.exists():
                folder.rename(old)
            part.rename(folder)
            flush(folder.parent)
    finally:  # half a checkpoint would keep a full disk full
        shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def load_checkpoint(folder: Path | str, *, dtype: torch.dtype | None = None) -> Checkpoint:
    """Verify a checkpoint and load it on the CPU, without running any code from the folder.

    Args:
        dtype: of the weights; None means float32.

    Raises:
        CheckpointError: a file is missing, changed or too many.
        ConfigError: the files are those that were saved, but no model can be made of them.
    """
    folder = Path(folder)
    check_files(folder)
    model, tokenizer = load_pretrained(folder, dtype=dtype)  # which verifies what it reads
    state = _trainer_state(folder / TRAINER_STATE)
    average = folder / AVERAGE
    kept = load_weights(average, dtype=dtype) if average.is_dir() else None
    return Checkpoint(model, tokenizer, state, kept)


def _trainer_state(file: Path) -> dict[str, Any]:
    try:
        state = read_json(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{file} cannot be read ({in_one_line(error)}), but training goes on from it: copy the "
            "whole folder again, or take the checkpoint before this one."
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{file} holds no state of a training: copy the whole folder again.")
    return state


def bc_checkpoint_of(name: str) -> Path | None:
    """The behaviour-cloned checkpoint (0000) of the run that a checkpoint belongs to.

    It may be damaged or gone: then loading it says so, rather than that it is left out.

    Returns:
        None if `name` is that checkpoint itself, or no checkpoint of a run.
    """
    folder = Path(name).resolve()
    bc = folder.with_name("0000")
    copied = folder.parent.name == CHECKPOINTS and bc.is_dir() and is_checkpoint(bc)
    return bc if (copied or in_a_run(folder)) and bc != folder else None
