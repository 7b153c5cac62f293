"""Estimates the GPU's and the machine's memory that a run needs, before any model is loaded.

Weights, gradients, optimiser state and cached keys and values are exact. Activations are counted
for layers like Llama's (gated feed-forward, RMS norms). What vLLM and CUDA use besides is a round
number.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from transformers import AutoConfig, PretrainedConfig

from agents.embedded import BASE_FOLDER, Shape, model_config
from agents.vocabulary import missing_words
from envs.errors import ConfigError
from training.config import RunConfig
from training.config.engine import EngineConfig
from training.config.play import API
from training.preflight.model_size import BYTES, ModelSize, size_of
from training.storage.model_source import find_model

GIB = 2**30
_ENGINE_OVERHEAD = 2 * GIB
"""What vLLM uses besides weights, keys and values: CUDA graphs and work space."""

_LOSS_SHARE = 0.25
"""Assumed upper bound of the share of a row's columns that carry loss."""

_LOGIT_BYTES = 14
"""Bytes per logit: itself, its gradient and its log-prob in float32, and a half-precision copy."""

_USABLE = 0.95
"""Usable share of a device's memory; the rest is CUDA's own or lost to fragmentation."""

Where = Literal["GPU", "machine"]


@dataclass(frozen=True, slots=True)
class Part:
    """An item of the memory plan.

    Attributes:
        playing, updating: bytes that it takes in each phase.
    """

    what: str
    where: Where
    playing: float
    updating: float


def memory_plan(config: RunConfig, size: ModelSize, gpu: float = 0.0) -> list[Part]:
    """List what a training run holds in memory while it plays and while it updates.

    Args:
        gpu: total memory of the GPU, bytes; engines may reserve a share of it.
    """
    update, overlaps = config.update, config.collect.ahead
    where: Where = "GPU" if config.device == "cuda" else "machine"
    learns = size.trainable(config.lora.rank)
    whole = 4.0 * size.weights
    extra = 4.0 * learns if config.lora.rank is not None else 0.0
    logits = _LOGIT_BYTES * _LOSS_SHARE * update.token_budget * size.vocabulary
    kept = size.activation_bytes(
        update.token_budget, update.precision, checkpointing=update.checkpointing
    )
    updates = [
        Part("gradients", where, 0, 4.0 * learns),
        Part("AdamW's moments", where, 0, 8.0 * learns),
        Part("kept for the backward pass", where, 0, kept),
        Part("logits of loss tokens", where, 0, logits),
    ]
    if overlaps:  # updates run while the next iteration is played
        updates = [Part(p.what, p.where, p.updating, p.updating) for p in updates]
    return [
        Part("the policy's weights", where, whole, whole + extra),
        *updates,
        *_engines(config, size, where, gpu, overlaps=overlaps),
        Part("the clone's weights", "machine", whole, whole),
    ]


def _engines(
    config: RunConfig, size: ModelSize, where: Where, gpu: float, *, overlaps: bool
) -> Iterator[Part]:
    engine = config.engine
    has_collector = overlaps or config.collect.refresh_every != 1
    names = ["policy", *(["collecting policy"] if has_collector else [])]
    if engine.name == "local":
        for name in names:  # bc plays with weights that are loaded anyway
            yield Part(f"the {name}'s engine", where, 4.0 * size.weights, 4.0 * size.weights)
        return
    for name in (*names, "frozen clone"):
        weights = float(BYTES[engine.dtype] * size.weights)
        taken = weights + _keys_and_values(engine, where)
        if where == "GPU":
            taken = (
                taken + _ENGINE_OVERHEAD if engine.kv_cache_gib else engine.gpu_memory_share * gpu
            )
        yield Part(f"the {name}'s engine", where, taken, taken if overlaps or where != "GPU" else 0)
        if where == "GPU" and not overlaps:
            yield Part(f"the {name}'s engine, asleep", "machine", 0, weights)


def _keys_and_values(engine: EngineConfig, where: Where) -> float:
    return (engine.kv_cache_gib or (0.5 if where == "machine" else 0.0)) * GIB


def check_memory(config: RunConfig, console: Console) -> None:
    """Estimate a run's memory, print it if a GPU is used, and refuse a run that cannot fit.

    Raises:
        ConfigError: there is no GPU or too little memory; the message says which options help.
    """
    if config.policy.name == API:
        return
    size = size_of(_architecture(config))
    available = _available_memory()
    plan = memory_plan(config, size, available.get("GPU", 0.0))
    if config.device == "cuda":
        show_plan(console, plan, size, config, available)
    if config.dry_run:
        return
    if config.device == "cuda" and "GPU" not in available:
        raise ConfigError(
            "device is cuda, but torch sees no GPU; check the driver with nvidia-smi and the build "
            "of torch, or set device=cpu engine=local for a small model."
        )
    for where, playing, updating in _totals(plan):
        needed = max(playing, updating)
        if needed > _USABLE * available.get(where, 0.0):
            phase = "updating" if updating >= playing else "playing"
            raise ConfigError(
                f"While {phase}, about {needed / GIB:.1f} GiB of the {where}'s memory are needed, "
                f"but of its {available[where] / GIB:.1f} GiB no more than {_USABLE:.0%} can be "
                f"used; {_advice(config, where, phase)}, or choose a smaller model."
            )


def _available_memory() -> dict[Where, float]:
    """Total bytes of memory of the machine, and of the GPU if there is one."""
    available: dict[Where, float] = {
        "machine": float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    }
    if torch.cuda.is_available():
        available["GPU"] = float(torch.cuda.get_device_properties(0).total_memory)
    return available


def _architecture(config: RunConfig) -> PretrainedConfig:
    name = config.policy.name
    if name == "scratch":
        return model_config(Shape(), missing_words(config.env.names))
    source = find_model(str(BASE_FOLDER) if name == "embedded" else name, weights=False)
    found: PretrainedConfig = AutoConfig.from_pretrained(
        source.folder, trust_remote_code=False, local_files_only=True, **source.gguf
    )
    return found


def _totals(plan: list[Part]) -> Iterator[tuple[Where, float, float]]:
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
    size: ModelSize,
    config: RunConfig,
    available: Mapping[Where, float],
) -> None:
    """Print the memory plan: one line per part, and the sums beside the memory available."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in ("memory, GiB", "where", "playing", "updating", "available"):
        table.add_column(name, justify="left" if name in ("memory, GiB", "where") else "right")
    for part in plan:
        table.add_row(part.what, part.where, _gib(part.playing), _gib(part.updating), "")
    for where, playing, updating in _totals(plan):
        got = f"{available[where] / GIB:.1f}" if where in available else "none"
        table.add_row("[bold]all[/bold]", where, _gib(playing), _gib(updating), got)
    console.print(table)
    rank, trainable = config.lora.rank, size.trainable(config.lora.rank)
    learning = (
        "all are trained" if rank is None else f"{_count(trainable)} low-rank ones are trained"
    )
    console.print(f"{_count(size.weights)} weights; {learning}.", soft_wrap=True)


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e9 else f"{number / 1e6:.1f} million"


def _gib(count: float) -> str:
    return f"{count / GIB:.1f}" if count else "-"
