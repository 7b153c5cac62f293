"""Estimates how long the stages of a training run take on this machine, before it starts.

Tokens are counted from the options; how long dialogues get is assumed (`workload`). The machine's
speed is measured in half a second, as that of one large matrix product. The rest is a table of how
much of that speed training and playing reach. So this tells minutes from hours, and no more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from training.config import Precision, RunConfig
from training.config.play import API, BUILT_IN_POLICIES
from training.preflight.memory import architecture, demonstrator_size, precision_on
from training.preflight.model_size import ModelSize, size_of
from training.preflight.workload import TURNS_SHARE, dialogue_tokens, turn_tokens
from training.report.stopwatch import duration

TRAINING_SHARE = 0.5
"""Share of the machine's speed that forward and backward passes reach."""

READING_SHARE = 0.5
"""Share of it that forward passes over prompts reach."""

WRITING_SHARE: dict[str, dict[Precision, float]] = {
    "local": {"float32": 0.1, "bfloat16": 0.05},
    "vllm": {"float32": 0.2, "bfloat16": 0.1},
}
"""Share of it that is reached token by token, by engine and its precision: mostly weights are read
from memory, and in bfloat16 the speed grows more than the memory's does."""

_PROBE_SIDE = {"cpu": 256, "cuda": 4096}
"""Small enough that a CPU without bfloat16 instructions is through in a second."""

_PROBE_S = 0.2


@dataclass(frozen=True, slots=True)
class Stage:
    """The work of a stage in the whole run.

    Attributes:
        trained: tokens of forward and backward passes.
        read: tokens of forward passes alone: new parts of prompts, and the reference's.
        written: tokens that are sampled.
        precision: of the model that learns, or of the engine that plays.
        weights: of the model that works; None: those of the policy.
        checkpointing: whether the forward pass of training is made twice.
    """

    name: str
    trained: float = 0
    read: float = 0
    written: float = 0
    precision: Precision = "float32"
    checkpointing: bool = False
    weights: int | None = None

    def seconds(self, weights: int, speed: dict[Precision, float], engine: str) -> float:
        """Estimate its time.

        Args:
            weights: of the policy; a token costs 2 operations a weight forward, 4 backward.
            speed: operations a second of a large matrix product, by precision.
        """
        passes = 8 if self.checkpointing else 6
        weights = self.weights or weights
        writing = WRITING_SHARE.get(engine, WRITING_SHARE["local"])[self.precision]
        return (weights / speed[self.precision]) * (
            passes * self.trained / TRAINING_SHARE
            + 2 * self.read / READING_SHARE
            + 2 * self.written / writing
        )


def stages_of(config: RunConfig, demonstrator: ModelSize | None = None) -> list[Stage]:
    """Count the tokens of each stage of training.

    Args:
        demonstrator: the size of the model that is loaded to demonstrate in stage 0.
    """
    turns = config.env.max_turns * TURNS_SHARE
    said = turn_tokens(config)
    plays = precision_on(config.device, config.engine.dtype)
    dialogue = dialogue_tokens(config, turns)
    branch, evaluation, rounds = config.branch, config.evaluation, config.iterations
    own = _own_share(config)
    cloning, update = config.cloning, config.update

    def played(name: str, episodes: float, share: float, seats: float) -> Stage:
        """Episodes of which a share is new, with the policy in that many seats."""
        written = episodes * share * turns * said * seats / 2
        read = episodes * seats * dialogue * share - written
        return Stage(name, read=read, written=written, precision=plays)

    continued = branch.points * (
        branch.continuations + config.critic.measured_share * branch.probes * turns / 2
    )
    pairs = branch.points * (dialogue + branch.continuations * turns / 2 * said)
    both = 1 if config.partner.weights.get("self") else 0
    curve = evaluation.points(rounds) * evaluation.curve_scenarios
    others = len([name for name, weight in config.partner.weights.items() if weight]) - both
    final = evaluation.scenarios * evaluation.episodes * (3 if evaluation.stubborn_bias else 2)
    shown = played("demonstrations", cloning.dialogues, 1, 2)
    return [
        *([] if demonstrator is None else [replace(shown, weights=demonstrator.weights)]),
        Stage(
            "stage 0",
            trained=(2 * cloning.dialogues * dialogue + cloning.drills * dialogue / 2)
            * cloning.epochs,
            precision=precision_on(config.device, cloning.precision),
            checkpointing=cloning.checkpointing,
        ),
        played("self-play", rounds * config.collect.episodes, 1, own),
        played("branches", rounds * continued, 0.5, own),
        Stage(
            "updates",
            trained=rounds * pairs * update.epochs,
            read=rounds * pairs,
            precision=precision_on(config.device, update.precision),
            checkpointing=update.checkpointing,
        ),
        played("evaluation", curve * 3 + final * (both + others), 1, own),
    ]


def _own_share(config: RunConfig) -> float:
    """The mean number of seats that models loaded here hold in an episode."""
    weights = config.partner.weights
    loaded = sum(weights.get(name, 0.0) for name in ("self", "frozen_bc", "checkpoint"))
    return 1 + loaded / sum(weights.values())


def measure_speed(device: str) -> dict[Precision, float]:
    """Measure operations a second of one large matrix product, by precision."""
    return {
        "float32": _speed(device, torch.float32),
        "bfloat16": _speed(device, torch.bfloat16),
    }


def _speed(device: str, dtype: torch.dtype) -> float:
    side = _PROBE_SIDE[device]
    factor = torch.ones(side, side, dtype=dtype, device=device)
    _ = factor @ factor  # the first one sets things up
    done, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < _PROBE_S or not done:
        _ = factor @ factor
        if device == "cuda":
            torch.cuda.synchronize()
        done += 1
    return done * 2 * float(side) ** 3 / passed


def print_duration(config: RunConfig, console: Console) -> None:
    """Print the tokens and the estimated time of each stage, for a model of the user's."""
    if config.policy.name in (*BUILT_IN_POLICIES, API):
        return  # the small model's time is not in its matrix products
    stages = stages_of(config, demonstrator_size(config))
    there = config.device == "cpu" or torch.cuda.is_available()
    speed = measure_speed(config.device) if there else None
    show_duration(console, stages, size_of(architecture(config)), config, speed)


def show_duration(
    console: Console,
    stages: list[Stage],
    size: ModelSize,
    config: RunConfig,
    speed: dict[Precision, float] | None,
) -> None:
    """Print one line a stage, and the sum.

    Args:
        speed: from `measure_speed`; None where the run's device is not in this machine.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    names = ("tokens, thousands", "trained on", "read", "written", "about")
    for name in names:
        table.add_column(name, justify="left" if name == names[0] else "right")
    times = list(_times(stages, size, config, speed))
    for stage, shown in zip(stages, times, strict=True):
        counts = (_thousands(n) for n in (stage.trained, stage.read, stage.written))
        table.add_row(stage.name, *counts, "unknown" if shown is None else duration(shown))
    known = [shown for shown in times if shown is not None]
    if known:
        table.add_row("[bold]all[/bold]", "", "", "", duration(sum(known)))
    console.print(table)
    if speed is None:
        console.print("No time is estimated: device is cuda, and this machine has no GPU.")
        return
    console.print(
        f"The time is a rough estimate: matrix products run at {speed['float32'] / 1e9:,.0f} "
        f"billion operations a second here in float32 and {speed['bfloat16'] / 1e9:,.0f} in "
        "bfloat16, beside what else runs now. Models behind APIs are not in it.",
        soft_wrap=True,
    )


def _times(
    stages: list[Stage],
    size: ModelSize,
    config: RunConfig,
    speed: dict[Precision, float] | None,
) -> Iterator[float | None]:
    for stage in stages:
        yield stage.seconds(size.weights, speed, config.engine.name) if speed else None


def _thousands(count: float) -> str:
    return f"{count / 1000:,.1f}" if count else "-"
