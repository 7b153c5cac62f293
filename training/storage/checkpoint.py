"""Saves checkpoints and loads models: Hugging Face folders, GGUF files, adapters on their base.

A checkpoint is a Hugging Face folder with trainer state, the options that its turns were learned
with, and SHA-256 checksums.
It is written to a temporary folder and renamed when it is complete, so a folder with the
final name is never partial. Weights are safetensors; nothing is pickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import warnings
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import CheckpointError, ConfigError, DiskError
from training.storage.files import disk_sentence, flush, to_json, write_text, writing
from training.storage.learned import LEARNED
from training.storage.model_source import ModelSource, check_fit, find_model
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
    from safetensors import SafetensorError

    folder = Path(folder)
    part = folder.with_name(f".{folder.name}.part")
    old = folder.with_name(f".{folder.name}.old")
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        with writing(folder):
            part.mkdir(parents=True)
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
            if average is not None:
                average.save_pretrained(part / AVERAGE)
            write_text(part / TRAINER_STATE, to_json(trainer_state, indent=2))
            if learned is not None:
                write_text(part / LEARNED, to_json(learned, indent=2))
            sums = {name: _sha256(part / name) for name in _file_names(part)}
            write_text(part / MANIFEST, to_json({"sha256": sums}, indent=2))
            for name in sums:
                flush(part / name)
            if folder.exists():
                folder.rename(old)
            part.rename(folder)
            flush(folder.parent)
    except SafetensorError as error:
        raise DiskError(disk_sentence(folder, error)) from error
    finally:  # half a checkpoint would keep a full disk full
        shutil.rmtree(part, ignore_errors=True)
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
    name: Path | str, *, dtype: torch.dtype | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load any model and its tokenizer on the CPU, without running code from it.

    Args:
        name: a folder with a Hugging Face model or a peft adapter, a GGUF file, or an address on
            the hub, hf://OWNER/NAME. Quantised weights are expanded, an adapter is merged.
        dtype: of the weights; None means float32.

    Raises:
        ConfigError: a part is missing or cannot be loaded; or the hub does not have the model.
    """
    from transformers import AutoTokenizer

    source = find_model(str(name), "the model")
    gguf = source.gguf if source.tokenizer == source.folder else {}
    tokenizer = AutoTokenizer.from_pretrained(
        source.tokenizer, trust_remote_code=False, local_files_only=True, **gguf
    )
    model = _load_model(source.folder, dtype, source.gguf_file)
    return _merged(model, source), tokenizer


def _load_model(
    folder: Path | str, dtype: torch.dtype | None, gguf_file: str | None = None
) -> PreTrainedModel:
    import torch
    from transformers import AutoModelForCausalLM

    place: dict[str, Any] = {"use_safetensors": True}
    if gguf_file is not None:
        place = _from_gguf(gguf_file)
    # Expanding GGUF weights shows a bar of its own, which nothing else silences.
    with redirect_stderr(io.StringIO()) if gguf_file is not None else nullcontext():
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype or torch.float32,
            trust_remote_code=False,
            local_files_only=True,
            **place,
        )
    if gguf_file is not None:
        _forget_quantisation(model)
    return model


def _from_gguf(name: str) -> dict[str, Any]:
    """How transformers is told to read a GGUF file, with its weights expanded."""
    try:
        from transformers import GgufConfig
    except ImportError:  # before there was a choice, weights were always expanded
        return {"gguf_file": name}
    return {"gguf_file": name, "quantization_config": GgufConfig(dequantize=True)}


def _forget_quantisation(model: PreTrainedModel) -> None:
    """Let a model be saved like any other: its weights are no longer those of the file."""
    for owner in (model, model.config):
        for name in ("hf_quantizer", "quantization_config", "quantization_method", "is_quantized"):
            vars(owner).pop(name, None)


def _merged(model: PreTrainedModel, source: ModelSource) -> PreTrainedModel:
    """The model with the adapter's low-rank changes added to its weights."""
    if source.adapter is None:
        return model
    import torch
    from peft import PeftModel

    check_fit(source.adapter, {name: tuple(t.shape) for name, t in model.state_dict().items()})
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            # peft asks transformers for something by its old name.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            whole: PreTrainedModel = PeftModel.from_pretrained(
                model, source.adapter, torch_device="cpu"
            ).merge_and_unload()
    except (ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(
            f"The adapter {source.adapter} cannot be merged into {source.folder} ({said[:200]}); "
            "name the base that it was trained on as base_model_name_or_path in its "
            "adapter_config.json."
        ) from error
    return whole


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
