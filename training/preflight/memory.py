"""Estimates the GPU's and the machine's memory that a run needs, before any model is loaded.

Weights, gradients and optimiser state are exact. Activations are counted for layers like Llama's
(gated feed-forward, RMS norms). How long dialogues get is assumed (`workload`). What Python, vLLM
and CUDA use besides is a round number.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from rich.console import Console
from transformers import PretrainedConfig

from agents.embedded import BASE_FOLDER, Shape, model_config
from agents.vocabulary import missing_words
from engines.kv_cache import BATCH_BYTES, PREFIX_BYTES
from engines.precision import has_bfloat16
from envs.errors import ConfigError
from training.config import CloningConfig, Precision, RunConfig, UpdateConfig
from training.config.engine import EngineConfig
from training.config.play import API, BUILT_IN_POLICIES
from training.learning.logits import CHUNK_LOGITS
from training.preflight.machine import machine_memory
from training.preflight.memory_table import GIB, Part, Phase, Where, show_plan, totals, worst
from training.preflight.model_size import BYTES, ModelSize, size_of
from training.preflight.workload import dialogue_tokens
from training.storage.model_source import find_model
from training.storage.pretrained import load_architecture

_ENGINE_OVERHEAD = 2 * GIB
"""What vLLM uses besides weights, keys and values: CUDA graphs and work space."""

_LOSS_SHARE = 0.25
"""Assumed upper bound of the share of a row's columns that carry loss."""

_LOGIT_BYTES = 14
"""Bytes per logit: itself, its gradient and its log-prob in float32, and a half-precision copy."""

_USABLE = 0.95
"""Usable share of a device's memory; the rest is CUDA's own or lost to fragmentation."""

_PYTHON = 0.4 * GIB
"""What Python and its libraries take."""

_IDLE = 0.1
"""Share of the machine's memory that lies idle between allocations."""

_CLONING_ROWS = 64
"""Rows of a pass of stage 0 where cloning.token_budget is null."""

_JOINING = 1.25
"""Memory of a batch's keys and values in the local engine, as a multiple of them."""

_DRAWING_BYTES = 28
"""Bytes per logit while a local engine draws tokens: log-probs, and sums in double precision."""


def memory_plan(
    config: RunConfig,
    size: ModelSize,
    gpu: float = 0.0,
    demonstrator: ModelSize | None = None,
) -> list[Part]:
    """List what a training run holds in memory while it clones, plays and updates.

    Args:
        gpu: total memory of the GPU, bytes; engines may reserve a share of it.
        demonstrator: the size of the model that is loaded to demonstrate in stage 0.
    """
    overlaps, clones = config.collect.ahead, config.cloning.dialogues > 0
    where: Where = "GPU" if config.device == "cuda" else "machine"
    learns = size.trainable(config.lora.rank)
    whole = 4.0 * size.weights
    extra = 4.0 * learns if config.lora.rank is not None else 0.0
    # Two gradients of the largest tensor are added up; AdamW makes copies unless it is fused.
    embedding = 12.0 * size.vocabulary * size.width
    if where == "GPU" or config.lora.rank is not None:
        embedding = 0.0
    kept, logits = _passes(config.update, config.device, config.update.token_budget, size)
    cloning_kept, cloning_logits = _passes(
        config.cloning, config.device, cloning_columns(config), size
    )
    updates = [
        Part("gradients", where, 0, 4.0 * learns, 4.0 * learns),
        Part("AdamW's moments", where, 0, 8.0 * learns, 8.0 * learns),
        Part("one tensor's sums and steps", where, 0, embedding, embedding),
        Part("kept for the backward pass", where, 0, kept, cloning_kept),
        Part("logits of loss tokens", where, 0, logits, cloning_logits),
    ]
    if config.objective.spec.measures == "kl":
        updates.append(Part("the reference's own copy", where, 0, whole))
    if overlaps:  # updates run while the next iteration is played
        updates = [Part(p.what, p.where, p.updating, p.updating, p.cloning) for p in updates]
    plan = [
        Part("the policy's weights", where, whole, whole + extra, whole + extra),
        *updates,
        *_engines(config, size, where, gpu, overlaps=overlaps),
        Part("the clone's weights", "machine", whole, whole),
    ]
    if config.reference.schedule == "average":
        plan.append(Part("the average of the weights", "machine", whole, whole))
    if demonstrator is not None:
        plan += _demonstrating(config, size, demonstrator, where, gpu)
    before = _PYTHON if demonstrator is not None else 0
    plan.append(Part("Python and its libraries", "machine", _PYTHON, _PYTHON, _PYTHON, before))
    plan.append(_slack(plan))
    return plan if clones else [Part(p.what, p.where, p.playing, p.updating) for p in plan]


def _slack(plan: list[Part]) -> Part:
    """What lies idle between allocations in the machine's memory; a GPU's is in `_USABLE`."""
    return next(
        Part(
            "lost between allocations",
            "machine",
            _IDLE * total.playing,
            _IDLE * total.updating,
            _IDLE * total.cloning,
            _IDLE * total.demonstrating,
        )
        for total in totals(plan)
        if total.where == "machine"
    )


def _passes(
    config: CloningConfig | UpdateConfig, device: str, columns: float, size: ModelSize
) -> tuple[float, float]:
    """Bytes that a forward pass of that many columns keeps, and bytes of its logits."""
    precision = precision_on(device, config.precision)
    kept = size.activation_bytes(columns, precision, checkpointing=config.checkpointing)
    if precision != "float32" and not config.checkpointing:
        kept += BYTES[precision] * size.weights  # each product keeps its cast of weights
    at_once = min(_LOSS_SHARE * columns * size.vocabulary, CHUNK_LOGITS + size.vocabulary)
    return kept, _LOGIT_BYTES * at_once


def precision_on(device: str, wanted: Precision) -> Precision:
    """What "auto" comes to on a device; a GPU that is not in this machine has bfloat16."""
    if wanted != "auto":
        return wanted
    there = device == "cpu" or torch.cuda.is_available()
    return "bfloat16" if not there or has_bfloat16(device) else "float32"


def cloning_columns(config: RunConfig) -> float:
    """Columns of the widest pass of stage 0: a budget, or whole rows."""
    longest = dialogue_tokens(config, config.env.max_turns)
    budget = config.cloning.token_budget
    if budget is None:
        return longest * min(_CLONING_ROWS, config.cloning.batch_rows, 2 * config.cloning.dialogues)
    return max(budget, longest)


def _engines(
    config: RunConfig, size: ModelSize, where: Where, gpu: float, *, overlaps: bool
) -> Iterator[Part]:
    engine = config.engine
    has_collector = overlaps or config.collect.refresh_every != 1
    names = ["policy", *(["collecting policy"] if has_collector else [])]
    if engine.name == "local":
        dtype = precision_on("cpu", engine.dtype)
        taken = float(BYTES[dtype] * size.weights)
        if dtype != "float32":
            names.append("frozen clone")  # in float32 it plays with weights that are loaded anyway
        for name in names:
            yield Part(f"the {name}'s engine", where, taken, taken)
        together = max(config.env.wave, config.branch.points * config.branch.continuations)
        engines = len({*names, "frozen clone"})
        live, kept = _local_play(config, size, together, engines)
        yield Part("dialogues under way", where, live, live if overlaps else 0)
        yield Part("keys and values for later turns", where, kept, kept if overlaps else 0)
        return
    for name in (*names, "frozen clone"):
        weights = float(BYTES[engine.dtype] * size.weights)
        taken = _vllm(engine, weights, where, gpu)
        yield Part(f"the {name}'s engine", where, taken, taken if overlaps or where != "GPU" else 0)
        if where == "GPU" and not overlaps:
            yield Part(f"the {name}'s engine, asleep", "machine", 0, weights)


def _demonstrating(
    config: RunConfig, policy: ModelSize, size: ModelSize, where: Where, gpu: float
) -> Iterator[Part]:
    """What plays the demonstrations; the policy waits on the machine, where it was loaded."""
    engine, loaded = config.engine, 4.0 * size.weights

    def part(what: str, place: Where, taken: float) -> Part:
        return Part(what, place, 0, 0, demonstrating=taken)

    yield part("the policy's weights, waiting", "machine", 4.0 * policy.weights)
    yield part("the demonstrator's weights", "machine", loaded)
    if engine.name != "local":
        taken = _vllm(engine, float(BYTES[engine.dtype] * size.weights), where, gpu)
        yield part("the demonstrator's engine", where, taken)
        return
    dtype = precision_on("cpu", engine.dtype)
    if dtype != "float32":
        yield part("the demonstrator's engine", where, float(BYTES[dtype] * size.weights))
    live, kept = _local_play(config, size, min(config.env.wave, config.cloning.dialogues), 1)
    yield part("demonstrations under way", where, live + kept)


def _vllm(engine: EngineConfig, weights: float, where: Where, gpu: float) -> float:
    """Bytes that vLLM takes with weights of that many bytes."""
    taken = weights + _keys_and_values(engine, where)
    if where == "machine":
        return taken
    return taken + _ENGINE_OVERHEAD if engine.kv_cache_gib else engine.gpu_memory_share * gpu


def _local_play(
    config: RunConfig, size: ModelSize, together: int, engines: int
) -> tuple[float, float]:
    """Bytes that the local engine needs to decode a batch, and bytes that it keeps.

    Args:
        together: dialogues that are played at once at most.
        engines: how many keep what both seats have read.
    """
    rows = min(together, config.engine.max_running)
    states: float = rows * dialogue_tokens(config, config.env.max_turns) * size.state_bytes
    states *= BYTES[precision_on("cpu", config.engine.dtype)] / BYTES["float32"]
    # Layer by layer a batch is joined from what was kept, and copied when it outgrows its room.
    live = _JOINING * min(states, BATCH_BYTES) + rows * size.vocabulary * _DRAWING_BYTES
    return live, min(2 * states, engines * PREFIX_BYTES)


def _keys_and_values(engine: EngineConfig, where: Where) -> float:
    return (engine.kv_cache_gib or (0.5 if where == "machine" else 0.0)) * GIB


def check_memory(config: RunConfig, console: Console) -> None:
    """Estimate a run's memory, print it for a model of the user's, and refuse what cannot fit.

    Raises:
        ConfigError: there is no GPU or too little memory; the message says which options help.
    """
    if config.policy.name == API:
        return
    size = size_of(architecture(config))
    available = _available_memory()
    plan = memory_plan(config, size, available.get("GPU", 0.0), demonstrator_size(config))
    if config.device == "cuda" or config.dry_run or config.policy.name not in BUILT_IN_POLICIES:
        show_plan(console, plan, size, config, available)
    if config.device == "cuda" and "GPU" not in available:
        if config.dry_run:  # it may be made on another machine than the run
            return
        raise ConfigError(
            "device is cuda, but torch sees no GPU; check the driver with nvidia-smi and the build "
            "of torch, or set device=cpu engine=local for a small model."
        )
    for sentence in _cautions(config):
        console.print(f"[yellow]{sentence}[/yellow]", soft_wrap=True)
    for total in totals(plan):
        phase, needed = worst(total)
        there = available.get(total.where, 0.0)
        if needed > _USABLE * there:
            refusal = (
                f"While {phase}, about {needed / GIB:.1f} GiB of the {total.where}'s memory are "
                f"needed, but of its {there / GIB:.1f} GiB no more than {_USABLE:.0%} can be "
                f"used; {_advice(config, phase)}, or choose a smaller model."
            )
            if not config.dry_run:
                raise ConfigError(refusal)
            console.print(f"A run would be refused here: {refusal}", soft_wrap=True)


def _cautions(config: RunConfig) -> Iterator[str]:
    """What a user should know of this machine before a run begins."""
    low = [
        name
        for name, wanted in (
            ("cloning.precision", config.cloning.precision),
            ("update.precision", config.update.precision),
            ("engine.dtype", config.engine.dtype),
        )
        if wanted == "bfloat16"
    ]
    if low and config.device == "cpu" and not has_bfloat16("cpu"):
        yield (
            f"Caution: {' and '.join(low)} ask{'' if len(low) > 1 else 's'} for bfloat16, but this "
            "CPU has no instructions for "
            "it (AVX512-BF16 or AMX) and may be fifty times slower in it than in float32; set "
            f"{' '.join(f'{name}=auto' for name in low)}."
        )


def _available_memory() -> dict[Where, float]:
    """Total bytes of memory of the machine, and of the GPU if there is one."""
    available: dict[Where, float] = {"machine": machine_memory()}
    if torch.cuda.is_available():
        available["GPU"] = float(torch.cuda.get_device_properties(0).total_memory)
    return available


def architecture(config: RunConfig) -> PretrainedConfig:
    """The architecture of the run's policy, from its files alone."""
    name = config.policy.name
    if name == "scratch":
        return model_config(Shape(), missing_words(config.env.names))
    return architecture_of(str(BASE_FOLDER) if name == "embedded" else name)


def architecture_of(name: str) -> PretrainedConfig:
    """The architecture of a model, from its files alone."""
    return load_architecture(find_model(name, weights=False))


def demonstrator_size(config: RunConfig) -> ModelSize | None:
    """The size of the model that is loaded to demonstrate in stage 0; None where there is none."""
    model = config.demonstrator
    return None if model is None else size_of(architecture_of(model.name))


def _advice(config: RunConfig, phase: Phase) -> str:
    words = []
    if config.lora.rank is None and phase != "demonstrating":
        words.append("lora.rank=64")
    if phase in ("demonstrating", "playing"):
        if config.engine.name == "vllm":
            words.append("a smaller engine.kv_cache_gib")
        else:
            more = " and fewer branch.points" if phase == "playing" else ""
            words.append(f"env.wave={max(1, config.env.wave // 2)}{more}")
        return "set " + " or ".join(words)
    section, options = (
        ("cloning", config.cloning) if phase == "cloning" else ("update", config.update)
    )
    if not options.checkpointing:
        words.append(f"{section}.checkpointing=true")
    if options.precision == "float32" and precision_on(config.device, "auto") == "bfloat16":
        words.append(f"{section}.precision=bfloat16")
    budget = int(cloning_columns(config)) if phase == "cloning" else config.update.token_budget
    words.append(f"{section}.token_budget={budget // 2}")
    return "set " + " or ".join(words)
