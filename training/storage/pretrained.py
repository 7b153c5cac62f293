"""Loads models: folders, GGUF files, adapters on their base. All loads of models go through here.

transformers fills weights that a folder lacks with random numbers, drops those that it cannot
place, and tells a log that nobody reads. Here the model is what its files say, or is refused.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import ConfigError, ParleyError, in_one_line
from training.storage.gguf_rope import restore_scaling
from training.storage.manifest import is_checkpoint, verify_checkpoint
from training.storage.model_source import ModelSource, check_fit, find_model

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def load_pretrained(
    name: Path | str, *, dtype: torch.dtype | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load any model and its tokenizer on the CPU, without running code from it.

    Args:
        name: a folder with a Hugging Face model or a peft adapter, a GGUF file, or an address on
            the hub, hf://OWNER/NAME. Quantised weights are expanded, an adapter is merged.
        dtype: of the weights; None means float32.

    Raises:
        ConfigError: a part is missing or cannot be loaded; weights are missing, have no place in
            the model or are not finite; or the hub does not have the model.
        CheckpointError: it is a checkpoint of ours, and a file is missing, changed or too many.
    """
    from transformers import AutoTokenizer

    folder = Path(name)
    if folder.is_dir() and is_checkpoint(folder):
        verify_checkpoint(folder)
    source = find_model(str(name), "the model")
    if source.folder != folder and source.gguf_file is None and is_checkpoint(source.folder):
        verify_checkpoint(source.folder)  # from the hub, or the base of an adapter
    gguf = source.gguf if source.tokenizer == source.folder else {}
    with loading("the tokenizer", source.tokenizer):
        tokenizer = AutoTokenizer.from_pretrained(
            source.tokenizer, trust_remote_code=False, local_files_only=True, **gguf
        )
    model = load_weights(source.folder, dtype=dtype, gguf_file=source.gguf_file)
    if source.adapter is not None:
        model = _merged(model, source.folder, source.adapter)
        _check_finite(model, source.adapter)
    return model, tokenizer


def load_weights(
    folder: Path, *, dtype: torch.dtype | None = None, gguf_file: str | None = None
) -> PreTrainedModel:
    """Load a model without its tokenizer, and check that it is what the files hold.

    Args:
        dtype: of the weights; None means float32.
        gguf_file: the name of the GGUF file in the folder that holds the model; None: it is there
            as transformers saves it.

    Raises:
        ConfigError: the files cannot be read; or weights are missing, have no place in the model,
            have another shape or are not finite.
    """
    import torch
    from transformers import AutoModelForCausalLM

    place: dict[str, Any] = {"use_safetensors": True}
    if gguf_file is not None:
        source = ModelSource(folder, gguf_file=gguf_file)
        place = {"config": load_architecture(source)} | _from_gguf(gguf_file)
    # Expanding GGUF weights shows a bar of its own, which nothing else silences.
    quiet = redirect_stderr(io.StringIO()) if gguf_file is not None else nullcontext()
    with loading("the model", folder / (gguf_file or "")), quiet:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype or torch.float32,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, all of them in one sentence
            **place,
        )
    model: PreTrainedModel = loaded[0]
    found: Mapping[str, Any] = loaded[1]
    _check_names(model, found, folder / (gguf_file or ""))
    _check_finite(model, folder)
    if gguf_file is not None:
        _forget_quantisation(model)
    return model


def load_architecture(source: ModelSource) -> PretrainedConfig:
    """Read a model's architecture from its files, without its weights.

    Raises:
        ConfigError: transformers cannot read it, or not all of it.
    """
    from transformers import AutoConfig

    with loading("the configuration", source.folder / (source.gguf_file or "")):
        found: PretrainedConfig = AutoConfig.from_pretrained(
            source.folder, trust_remote_code=False, local_files_only=True, **source.gguf
        )
    if source.gguf_file is not None:
        restore_scaling(found, source.folder / source.gguf_file)
    return found


@contextmanager
def loading(part: str, place: Path | str) -> Iterator[None]:
    """Turn whatever transformers raises about somebody's files into a sentence.

    Args:
        part: what is loaded, such as "the tokenizer".
        place: its files.
    """
    try:
        yield
    except ParleyError:
        raise
    except Exception as error:  # of any kind: tokenizers raises Exception itself
        raise ConfigError(
            f"{part[:1].upper()}{part[1:]} of {place} cannot be loaded ({type(error).__name__}: "
            f"{in_one_line(error, most=300)}); copy the files again, or give a model of "
            "instructions that this version of transformers knows and that needs no code of its "
            "own."
        ) from error


def _check_names(model: PreTrainedModel, found: Mapping[str, Any], place: Path) -> None:
    """Check that each weight of the model was in its files, and each in the files has its place.

    Args:
        found: what transformers tells of loading; tied weights are in it once.
    """
    faults = [
        f"{len(names)} {what}, such as {min(map(str, names))}"
        for what, names in (
            ("are missing", _names(found["missing_keys"])),
            ("have no place in the model", _names(found["unexpected_keys"])),
            ("have another shape", _names(found["mismatched_keys"])),
            ("cannot be read", found["error_msgs"]),
        )
        if names
    ]
    if faults:
        raise ConfigError(
            f"The weights of {place} are not those of the {type(model).__name__} that its "
            f"configuration describes: {'; '.join(faults)}. Copy the whole folder again; if a tool "
            "has renamed weights, give them the model's names and save them again."
        )


def _names(keys: Collection[Any]) -> list[str]:
    """Names of weights; mismatched ones come with two shapes."""
    return [key if isinstance(key, str) else str(key[0]) for key in keys]


def _check_finite(model: PreTrainedModel, place: Path) -> None:
    bad = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    if bad:
        raise ConfigError(
            f"{len(bad)} weights of {place} hold NaN or infinite numbers, such as {bad[0]}; the "
            "file is damaged or its training went astray: copy it again, or take another model."
        )


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


def _merged(model: PreTrainedModel, folder: Path, adapter: Path) -> PreTrainedModel:
    """The model with the adapter's low-rank changes added to its weights."""
    import torch
    from peft import PeftConfig, PeftModel

    check_fit(adapter, {name: tuple(t.shape) for name, t in model.state_dict().items()})
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            # peft asks transformers for something by its old name.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            changed = PeftModel(model, PeftConfig.from_pretrained(str(adapter)))
            found = changed.load_adapter(adapter, "default", torch_device="cpu")
            whole: PreTrainedModel = changed.merge_and_unload()
    except Exception as error:  # of any kind, as in `loading`
        raise ConfigError(
            f"The adapter {adapter} cannot be merged into {folder} ({in_one_line(error)}); "
            "name the base that it was trained on as base_model_name_or_path in its "
            "adapter_config.json."
        ) from error
    if wrong := [*found.missing_keys, *found.unexpected_keys]:
        raise ConfigError(
            f"{len(wrong)} weights of the adapter {adapter} are missing or have no place in its "
            f"base, such as {wrong[0]}; copy the adapter again, or save it with peft."
        )
    return whole
