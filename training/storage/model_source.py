"""What the name of a model stands for: a folder, a GGUF file, an adapter, or a model on the hub.

Everything that can be wrong with its files is found here from their names and heads, before any
weights are read. Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from envs.errors import ConfigError
from envs.extras import install
from training.storage.files import read_object
from training.storage.gguf_header import SUFFIX, read_header
from training.storage.hub import SCHEME, fetch_model, is_on_hub
from training.storage.manifest import check_files, is_checkpoint
from training.storage.run_files import CHECKPOINTS
from training.storage.run_files import CONFIG as RUN_CONFIG
from training.storage.weight_files import INDEX, shapes_in, weight_files

CONFIG_FILE = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_PICKLES = ("*.bin", "*.pt", "*.pth")
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")

Shapes = Mapping[str, tuple[int, ...]]
"""Names of weights and their shapes."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where the parts of a model lie on this machine.

    Attributes:
        folder: the weights and their configuration.
        gguf_file: the name of the GGUF file in that folder that holds both; None: they are there
            as transformers saves them.
        adapter: the folder of a peft adapter that is merged into the weights; None for none.
    """

    folder: Path
    gguf_file: str | None = None
    adapter: Path | None = None

    @property
    def tokenizer(self) -> Path:
        """The folder of the tokenizer: the adapter's own, if it brings one."""
        if self.adapter is not None and (self.adapter / _TOKENIZER_CONFIG).is_file():
            return self.adapter
        return self.folder

    @property
    def gguf(self) -> dict[str, str]:
        """The argument that tells transformers to read the GGUF file."""
        return {} if self.gguf_file is None else {"gguf_file": self.gguf_file}


def find_model(name: str, option: str = "policy.name", *, weights: bool = True) -> ModelSource:
    """Find the parts of a model, downloading those that are on the hub.

    Args:
        name: a folder with a model or an adapter, a GGUF file, or hf://OWNER/NAME.
        option: what messages call the name.
        weights: whether weights are needed; if not, only configurations are downloaded.

    Raises:
        ConfigError: a part is missing, or cannot be loaded; or the hub does not have it.
        CheckpointError: see `check_folder`.
    """
    path = Path(name)
    if is_on_hub(name):
        path = fetch_model(name) if weights else fetch_model(name, (ADAPTER_CONFIG,))
    if (path / ADAPTER_CONFIG).is_file() and not (path / CONFIG_FILE).is_file():
        return _with_adapter(path, name, option, weights=weights)
    if path.is_file() or (name.endswith(SUFFIX) and not is_on_hub(name)):
        check_gguf(path, option)
        return ModelSource(path.parent, gguf_file=path.name)
    if weights or not is_on_hub(name):
        check_folder(path, option)
    return ModelSource(path)


def file_stamps(name: str) -> list[tuple[str, int, int]]:
    """Name, bytes and time of change (ns) of a model's files; other ones may be other weights."""
    source = find_model(name)
    folders = [folder for folder in (source.folder, source.adapter) if folder is not None]
    return [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns)
        for folder in folders
        for file in sorted(folder.iterdir())
        if file.suffix in (".safetensors", ".gguf", ".json")
    ]


def check_local(name: str, option: str = "policy.name") -> None:
    """Check a model's files; what is on the hub is not looked up.

    Raises:
        ConfigError: as for `find_model`.
    """
    path = Path(name)
    refuse_run(name, option)
    if (path / ADAPTER_CONFIG).is_file() and not (path / CONFIG_FILE).is_file():
        base = _base_of(path, option)
        if is_on_hub(base):
            _check_adapter(path, option)
            return
    find_model(name, option)


def refuse_run(name: str, option: str) -> None:
    """Check that a folder is not that of a run, whose models are in its checkpoints.

    Raises:
        ConfigError: it is; the message names the newest checkpoint.
    """
    if not (Path(name) / RUN_CONFIG).is_file() or (Path(name) / CONFIG_FILE).is_file():
        return
    found = sorted(Path(name, CHECKPOINTS).glob("[0-9][0-9][0-9][0-9]"))
    said = f"{option} is {name!r}, which is the folder of a run"
    if not found:
        raise ConfigError(
            f"{said} that has no checkpoint yet; wait for its first, or name a model."
        )
    raise ConfigError(f"{said}, no model; its newest checkpoint is {option}={found[-1]}")


def check_folder(folder: Path, option: str) -> None:
    """Check that a folder holds a model that transformers can load without running code.

    Raises:
        ConfigError: it does not.
        CheckpointError: it is a checkpoint of ours, and not with the files that it was saved with.
    """
    fault = None
    if folder.is_dir() and is_checkpoint(folder):
        check_files(folder)
    if not folder.is_dir():
        fault = "there is no such folder"
    elif not (folder / CONFIG_FILE).is_file():
        fault = f"that folder has no {CONFIG_FILE}"
        if files := sorted(folder.glob(f"*{SUFFIX}")):
            fault += f"; name the file itself, such as {files[0]}"
    elif not (files := weight_files(folder)):
        fault = f"that folder has no *.safetensors weights{_pickles(folder)}"
        if shards := sorted(folder.glob("*.safetensors")):
            fault = f"that folder has {shards[0].name} without {INDEX}, which says what lies where"
    elif method := _quantised(folder):
        fault = (
            f"its weights are quantised by {method}, and Parley trains and plays weights of 16 "
            "or 32 bits"
        )
    else:
        shapes_in(files)
    if fault:
        raise ConfigError(
            f"{option} is {str(folder)!r}, but {fault}; give the folder of a Hugging Face model, a "
            f"{SUFFIX} file, or {SCHEME}OWNER/MODEL for one on the hub"
            + (", or choose policy=embedded or policy=scratch." if option == "policy.name" else ".")
        )


def _pickles(folder: Path) -> str:
    if not any(file for glob in _PICKLES for file in folder.glob(glob)):
        return ""
    return (
        ", only pickled ones, which may run code when they are opened; convert them in a place "
        "where you trust them: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(OTHER)"
    )


def _quantised(folder: Path) -> str | None:
    """How a model's weights are quantised; None if they are not."""
    found = read_object(folder / CONFIG_FILE, empty=True).get("quantization_config")
    named = found.get("quant_method") if isinstance(found, dict) else None
    return str(named or "an unnamed method") if found else None


def check_gguf(file: Path, option: str) -> None:
    """Check that a GGUF file is whole, and holds a model that can be loaded and talked to."""
    if not file.is_file():
        raise ConfigError(f"{option} is {str(file)!r}, but there is no such file.")
    header = read_header(file)
    for library in ("gguf", "accelerate"):  # transformers asks for both
        _need_library(library, f"{option} is {str(file)!r}", "gguf")
    if not _can_load(header.architecture):
        raise ConfigError(
            f"{option} is {str(file)!r}, but it holds a model of the architecture "
            f"{header.architecture or '(none)'}, which transformers does not read from GGUF files; "
            "give the Hugging Face folder of that model, or serve it with llama.cpp as a partner "
            "(partner=server)."
        )
    if not header.has_tokenizer:
        raise ConfigError(
            f"{option} is {str(file)!r}, but it holds no tokenizer; give a file with one, or the "
            "Hugging Face folder of that model."
        )
    if not header.has_chat_template:
        raise ConfigError(
            f"{option} is {str(file)!r}, but it holds no chat template; give an instruction-tuned "
            "model, or its Hugging Face folder."
        )
    from gguf import GGML_QUANT_SIZES

    try:
        needed = header.data_start + header.data_bytes(
            {int(k): size for k, size in GGML_QUANT_SIZES.items()}
        )
    except KeyError as error:
        raise ConfigError(
            f"{option} is {str(file)!r}, but its weights are of the type {error}, which the "
            "installed gguf does not know; update gguf, or give a file of another quantisation."
        ) from error
    if (size := file.stat().st_size) < needed:
        raise ConfigError(
            f"{option} is {str(file)!r}, but the file ends early: it has {size:,} of "
            f"{needed:,} bytes; download it again."
        )


def _can_load(architecture: str) -> bool:
    """Whether transformers builds that model from a GGUF file; importing the list takes seconds."""
    from transformers.integrations import gguf
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    ours = architecture.replace("-", "_")
    ours = re.sub(r"(?<=\d)moe$", "_moe", ours)
    chats = {*GGUF_SUPPORTED_ARCHITECTURES, *getattr(gguf, "GGUF_CONFIG_ARCHS", ())} - _NO_CHAT
    return bool({architecture, ours} & chats)


_NO_CHAT = {"general", "tokenizer", "t5", "umt5"}
"""In the list of transformers, but no kind of model that continues a dialogue."""


def _with_adapter(adapter: Path, name: str, option: str, *, weights: bool) -> ModelSource:
    base = _base_of(adapter, option)
    if weights or not is_on_hub(name):
        _check_adapter(adapter, option)
    if (Path(base) / ADAPTER_CONFIG).is_file() and not (Path(base) / CONFIG_FILE).is_file():
        raise ConfigError(
            f"{option} is {name!r}, an adapter of {base!r}, which is an adapter itself; merge that "
            "one into its own base first."
        )
    found = find_model(base, f"the base of the adapter {option}={name}", weights=weights)
    if found.gguf_file is None and weights:
        check_fit(adapter, shapes_in(weight_files(found.folder)))
    return replace(found, adapter=adapter)


def _base_of(adapter: Path, option: str) -> str:
    """The model that an adapter belongs to, as a name for `find_model`."""
    base = str(read_object(adapter / ADAPTER_CONFIG).get("base_model_name_or_path") or "")
    for local in (Path(base), adapter / base):
        if base and local.exists():
            return str(local)
    if is_on_hub(base):
        return base
    if _HUB_NAME.fullmatch(base):
        return f"{SCHEME}{base}"
    raise ConfigError(
        f"{option} is {str(adapter)!r}, an adapter of {base!r}, but there is no such folder; write "
        f"the place of the base into {ADAPTER_CONFIG} as base_model_name_or_path: a folder, a "
        f"{SUFFIX} file or {SCHEME}OWNER/MODEL."
    )


def _check_adapter(adapter: Path, option: str) -> None:
    """Check what can be said of an adapter without its base."""
    said = f"{option} is {str(adapter)!r}"
    _need_library("peft", f"{said}, a peft adapter", "lora")
    kind = read_object(adapter / ADAPTER_CONFIG).get("peft_type")
    if kind != "LORA":
        raise ConfigError(
            f"{said}, an adapter of the type {kind}, but only those of the type LORA can be merged "
            "into the weights; give one, or a folder with the whole model."
        )
    if not (adapter / ADAPTER_WEIGHTS).is_file():
        raise ConfigError(
            f"{said}, but that folder has no {ADAPTER_WEIGHTS}{_pickles(adapter)}; give a folder "
            "that peft saved."
        )
    check_rank(adapter)


def check_rank(adapter: Path) -> None:
    """Check that an adapter's weights have the rank that its configuration says.

    Raises:
        ConfigError: they have not, or there are none.
    """
    config = read_object(adapter / ADAPTER_CONFIG)
    downs = {n: s for n, s in shapes_in([adapter / ADAPTER_WEIGHTS]).items() if "lora_A" in n}
    if not downs:
        raise ConfigError(f"The adapter {adapter} has no low-rank weights; save it again.")
    try:
        ranks = {int(config.get("r") or 0), *map(int, (config.get("rank_pattern") or {}).values())}
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{adapter / ADAPTER_CONFIG} has ranks that are no numbers ({error}); copy it again."
        ) from error
    for name, shape in downs.items():
        if shape[0] not in ranks:
            raise ConfigError(
                f"The adapter {adapter} says r={config.get('r')}, but {name} has the rank "
                f"{shape[0]}; put adapter_config.json and the weights of one training together."
            )


def check_fit(adapter: Path, base: Shapes) -> None:
    """Check that each low-rank change fits a weight of the base.

    Raises:
        ConfigError: the base has no such weight, or one of another shape.
    """
    found = shapes_in([adapter / ADAPTER_WEIGHTS])
    for name, down in found.items():
        if not name.endswith("lora_A.weight"):
            continue
        inputs = down[1]
        outputs = found.get(name.replace("lora_A", "lora_B"), (0,))[0]
        target = name.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")
        shape = base.get(target)
        if shape is None and not _has_layer(base, target):
            continue  # some models name their weights otherwise once they are loaded
        if shape != (outputs, inputs):
            has = (
                "has no such weight"
                if shape is None
                else f"has it as {' x '.join(map(str, shape))}"
            )
            raise ConfigError(
                f"The adapter {adapter} changes {target} as {outputs} x {inputs}, but its base "
                f"{has}; name the base that the adapter was trained on as base_model_name_or_path "
                f"in {ADAPTER_CONFIG}."
            )


def _has_layer(base: Shapes, target: str) -> bool:
    """Whether the base has any weight of the layer that a target belongs to."""
    layer = re.match(r".*?\.\d+\.", target)
    return layer is None or any(name.startswith(layer[0]) for name in base)


def _need_library(library: str, said: str, extra: str) -> None:
    if find_spec(library) is None:
        raise ConfigError(
            f"{said}, but {library} is not installed; install it by "
            f"{install(extra)}, or give the folder of a Hugging Face model."
        )
