"""What a run's models will take of the GPU and of the machine's memory, reckoned before loading.

Weights, gradients, optimiser and kept keys and values are exact; what a backward pass keeps is
counted for layers of the Llama kind (gated feed-forward, RMS norms). What vLLM and CUDA take beside
is a round number.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from agents.embedded import BASE_FOLDER, Shape, model_config
from agents.vocabulary import missing_words
from envs.errors import ConfigError
from training.config import RunConfig
from training.config.engine import EngineConfig
from training.config.play import API
from training.storage.hub import fetch_model, is_on_hub

GIB = 2**30
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 4}
_ENGINE_BESIDE = 2 * GIB
"""Of vLLM, beside weights, keys and values: CUDA graphs and work space."""

_LOSS_SHARE = 0.25
"""Of a row's columns, how many carry loss, at most, as a rule."""

_LOGIT_BYTES = 14
"""A logit, its gradient and its log-prob in float32, and what was computed in half of that."""

_USABLE = 0.95
"""Of a device's memory; the rest is CUDA's own, and lost between blocks."""

Where = Literal["GPU", "machine"]


@dataclass(frozen=True, slots=True)
class Part:
    """Something that takes memory, bytes."""

    what: str
    where: Where
    playing: float
    updating: float


@dataclass(frozen=True, slots=True)
class Size:
    """What a model's sizes are.

    Attributes:
        weights: all numbers that it is made of, shared ones once.
        linear: (inputs, outputs) of each linear layer but the output's.
    """

    weights: int
    linear: tuple[tuple[int, int], ...]
    layers: int
    width: int
    feed_forward: int
    heads: int
    key_heads: int
    head: int
    vocabulary: int

    def changed(self, rank: int | None) -> int:
        """How many numbers learn."""
        return self.weights if rank is None else sum(rank * (i + o) for i, o in self.linear)

    def kept(self, columns: int, precision: str, *, checkpointing: bool) -> float:
        """Bytes that a backward pass over rows of that many columns in all needs of the forward."""
        low = _BYTES[precision]
        # Norms keep what goes in and what comes out, in float32, and matrix products theirs.
        norms = 4 * 4 * self.width
        products = 2 * self.width + 4 * self.feed_forward
        attention = 3 * self.heads * self.head + 2 * self.key_heads * self.head
        layer = norms + low * (products + attention)
        through = 4 * self.width * self.layers
        return columns * (through + layer if checkpointing else layer * self.layers)


def size_of(config: PretrainedConfig) -> Size:
    """Build the model without memory and count."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    config = config.get_text_config()
    heads = config.num_attention_heads
    return Size(
        weights=sum(parameter.numel() for parameter in model.parameters()),
        linear=tuple(
            (layer.in_features, layer.out_features)
            for layer in model.modules()
            if isinstance(layer, torch.nn.Linear) and layer is not head
        ),
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        feed_forward=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        heads=heads,
        key_heads=getattr(config, "num_key_value_heads", None) or heads,
        head=getattr(config, "head_dim", None) or config.hidden_size // heads,
        vocabulary=config.vocab_size,
    )


def memory_plan(config: RunConfig, size: Size, gpu: float = 0.0) -> list[Part]:
    """Each part of what a training run will hold, while it plays and while it updates.

    Args:
        gpu: all memory of the GPU, bytes; engines may take shares of it.
    """
    update, beside = config.update, config.collect.ahead
    where: Where = "GPU" if config.device == "cuda" else "machine"
    learns = size.changed(config.lora.rank)
    whole = 4.0 * size.weights
    extra = 4.0 * learns if config.lora.rank is not None else 0.0
    logits = _LOGIT_BYTES * _LOSS_SHARE * update.token_budget * size.vocabulary
    kept = size.kept(update.token_budget, update.precision, checkpointing=update.checkpointing)
    updates = [
        Part("gradients", where, 0, 4.0 * learns),
        Part("AdamW's moments", where, 0, 8.0 * learns),
        Part("kept for the backward pass", where, 0, kept),
        Part("logits of loss tokens", where, 0, logits),
    ]
    if beside:  # what updates takes its memory while others play
        updates = [Part(p.what, p.where, p.updating, p.updating) for p in updates]
    return [
        Part("the policy's weights", where, whole, whole + extra),
        *updates,
        *_engines(config, size, where, gpu, beside=beside),
        Part("the clone's weights", "machine", whole, whole),
    ]


def _engines(
    config: RunConfig, size: Size, where: Where, gpu: float, *, beside: bool
) -> Iterator[Part]:
    engine = config.engine
    apart = beside or config.collect.refresh_every != 1
    names = ["policy", *(["collecting policy"] if apart else [])]
    if engine.name == "local":
        for name in names:  # the clone plays with the weights that are there anyway
            yield Part(f"the {name}'s engine", where, 4.0 * size.weights, 4.0 * size.weights)
        return
    for name in (*names, "frozen clone"):
        weights = float(_BYTES[engine.dtype] * size.weights)
        taken = weights + _keys_and_values(engine, where)
        if where == "GPU":
            taken = taken + _ENGINE_BESIDE if engine.kv_cache_gib else engine.gpu_memory_share * gpu
        yield Part(f"the {name}'s engine", where, taken, taken if beside or where != "GPU" else 0)
        if where == "GPU" and not beside:
            yield Part(f"the {name}'s engine, asleep", "machine", 0, weights)


def _keys_and_values(engine: EngineConfig, where: Where) -> float:
    return (engine.kv_cache_gib or (0.5 if where == "machine" else 0.0)) * GIB


def check_memory(config: RunConfig, console: Console) -> None:
    """Reckon, show it where a GPU is used, and refuse what cannot fit.

    Raises:
        ConfigError: there is no GPU, or not enough memory; the message says what would help.
    """
    if config.policy.name == API:
        return
    size = size_of(_architecture(config))
    there = _there()
    plan = memory_plan(config, size, there.get("GPU", 0.0))
    if config.device == "cuda":
        show_plan(console, plan, size, config, there)
    if config.dry_run:
        return
    if config.device == "cuda" and "GPU" not in there:
        raise ConfigError(
            "device is cuda, but torch sees no GPU; check the driver with nvidia-smi and the build "
            "of torch, or set device=cpu engine=local for a small model."
        )
    for where, playing, updating in _sums(plan):
        needed = max(playing, updating)
        if needed > _USABLE * there.get(where, 0.0):
            phase = "updating" if updating >= playing else "playing"
            raise ConfigError(
                f"While {phase}, about {needed / GIB:.1f} GiB of the {where}'s memory are needed, "
                f"but of its {there[where] / GIB:.1f} GiB no more than {_USABLE:.0%} can be used; "
                f"{_advice(config, where, phase)}, or choose a smaller model."
            )


def _there() -> dict[Where, float]:
    """Bytes of memory by where they are."""
    there: dict[Where, float] = {
        "machine": float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    }
    if torch.cuda.is_available():
        there["GPU"] = float(torch.cuda.get_device_properties(0).total_memory)
    return there


def _architecture(config: RunConfig) -> PretrainedConfig:
    name = config.policy.name
    if name == "scratch":
        return model_config(Shape(), missing_words(config.env.names))
    folder: Any = BASE_FOLDER if name == "embedded" else name
    if is_on_hub(str(folder)):
        folder = fetch_model(name, ())
    found: PretrainedConfig = AutoConfig.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    return found


def _sums(plan: list[Part]) -> Iterator[tuple[Where, float, float]]:
    for where in dict.fromkeys(part.where for part in plan):
        own = [part for part in plan if part.where == where]
        yield where, sum(part.playing for part in own), sum(part.updating for part in own)


def _advice(config: RunConfig, where: Where, phase: str) -> str:
    words = []
    if config.lora.rank is None:
        words.append("lora.rank=64")
    if phase == "updating":
        if not config.update.checkpointing:
            words.append("update.checkpointing=true")
        words.append(f"update.token_budget={config.update.token_budget // 2}")
    elif config.engine.name == "vllm":
        words.append("a smaller engine.kv_cache_gib")
    return "set " + " or ".join(words) if words else "take a larger machine"


def show_plan(
    console: Console,
    plan: list[Part],
    size: Size,
    config: RunConfig,
    there: Mapping[Where, float],
) -> None:
    """Print a line a part, and the sums beside what there is."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in ("memory, GiB", "where", "playing", "updating", "there is"):
        table.add_column(name, justify="left" if name in ("memory, GiB", "where") else "right")
    for part in plan:
        table.add_row(part.what, part.where, _gib(part.playing), _gib(part.updating), "")
    for where, playing, updating in _sums(plan):
        got = f"{there[where] / GIB:.1f}" if where in there else "none"
        table.add_row("[bold]all[/bold]", where, _gib(playing), _gib(updating), got)
    console.print(table)
    rank, learns = config.lora.rank, size.changed(config.lora.rank)
    learning = "all learn" if rank is None else f"{_count(learns)} beside them learn"
    console.print(f"{_count(size.weights)} weights; {learning}.", soft_wrap=True)


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e9 else f"{number / 1e6:.1f} million"


def _gib(count: float) -> str:
    return f"{count / GIB:.1f}" if count else "-"
