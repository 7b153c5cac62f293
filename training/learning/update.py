"""One update of the policy: seeded epochs over examples, one objective, an early stop on drift."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from envs.errors import TrainingError
from training.config import UpdateConfig
from training.learning.attention import row_attention
from training.learning.batch import Batch
from training.learning.passes import checkpointed, deterministic, fused
from training.learning.reference import Reference
from training.methods.objectives.base import Objective, Stateful
from training.methods.objectives.common import nll
from training.methods.objectives.types import BranchLogps, State
from training.methods.records import Example

LAST = "_last"
"""Ends the name of a number in metrics.jsonl that is of the last epoch alone."""

WATCHED = ("loss", "chosen_log_ratio")
"""What tells by its last epoch that an update went wrong; see `training.evaluation.alarms`."""

ADAM_BETAS = (0.9, 0.999)
"""Decay rates of AdamW's moments; each update starts with fresh ones."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """The numbers of one batch, measured before its step was made.

    Attributes:
        step: counts from 0.
        loss: the objective on the whole batch plus the weighted nll.
        nll: negative log-likelihood per token of the chosen branches, nats.
        grad_norm: before clipping.
        metrics: the objective's own, on the whole batch.
        examples: how many the batch has.
        tokens: tokens encoded; `tokens_saved` more would have been without trunk sharing.
    """

    step: int
    epoch: int
    learning_rate: float
    loss: float
    nll: float
    grad_norm: float
    metrics: dict[str, float]
    examples: int
    tokens: int
    tokens_saved: int


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """The numbers of a whole update.

    Attributes:
        steps: optimiser steps made.
        loss, nll, grad_norm, metrics: means over all batches, each weighted by its examples; the
            metrics are log-ratios, margin, accuracy ... A metric that some batches lack is averaged
            over the others.
        loss_first: loss of the first batch.
        last: loss, nll and metrics of the last epoch, averaged in the same way: how the update
            ended. The policy had been trained on these examples once less than the number of
            epochs.
        tokens: tokens encoded for gradients; `tokens_saved` more would have been without trunk
            sharing. The reference pass is not counted.
        stopped_early: why, None when it ran to the end.
        state: what the objective carries on to the next update; empty for most.
    """

    steps: int
    loss_first: float
    loss: float
    nll: float
    grad_norm: float
    metrics: dict[str, float]
    last: dict[str, float]
    tokens: int
    tokens_saved: int
    stopped_early: str | None
    state: State = field(default_factory=dict)

    def numbers(self) -> dict[str, float]:
        """Name the numbers that go into metrics.jsonl."""
        return {
            "steps": self.steps,
            "loss_first": self.loss_first,
            "loss": self.loss,
            "nll": self.nll,
            "grad_norm": self.grad_norm,
            "tokens": self.tokens,
            "tokens_saved": self.tokens_saved,
            "stopped_early": float(self.stopped_early is not None),
            **self.metrics,
            **{f"{name}{LAST}": self.last[name] for name in WATCHED if name in self.last},
        }


def update(
    model: PreTrainedModel,
    reference: Reference | Sequence[Tensor],
    examples: Sequence[Example],
    *,
    objective: Objective | Stateful,
    config: UpdateConfig,
    seed: int,
    on_step: Callable[[StepReport], None] | None = None,
    state: State | None = None,
) -> UpdateReport:
    """Train `model` in place on the examples.

    The same weights, examples, seed and thread count give the same weights, bit for bit, on a CPU.
    There is no dropout: before the first step the policy is its reference exactly.

    Args:
        reference: from `reference_pass` or `reference_logps` on the same examples in the same
            order.
        objective: its loss must be a mean over branches or over pairs. A stateful one costs one
            more forward pass a batch.
        on_step: called before each optimiser step, and for the batch at which drift stops it.
        state: of a stateful objective, from the report of the update before.

    Raises:
        TrainingError: when there is nothing to train on or a number is not finite; the weights
            are then those of the last good step.
    """
    if not isinstance(reference, Reference):
        reference = Reference(logps=reference)
    _check_given(reference.logps, examples)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters,
        lr=config.learning_rate,
        betas=ADAM_BETAS,
        weight_decay=0.0,
        fused=fused(model),
    )
    batches = list(_batches(len(examples), config, random.Random(seed)))
    reports: list[StepReport] = []
    stopped_early, state = None, state or {}
    with (
        deterministic(model),
        row_attention(model),
        checkpointed(model, config.checkpointing),
    ):
        for step, (epoch, indices) in enumerate(batches):
            optimizer.zero_grad()
            batch = Batch(model, reference, examples, indices, config)
            batch_objective, state = _for_batch(objective, batch, state)
            whole = batch.accumulate(batch_objective)
            output, chosen_nll = batch_objective(whole), float(nll(whole.branches))
            norm = torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
            rate = _learning_rate(config, step, len(batches))
            reports.append(
                StepReport(
                    step=step,
                    epoch=epoch,
                    learning_rate=rate,
                    loss=float(output.loss) + config.nll_weight * chosen_nll,
                    nll=chosen_nll,
                    grad_norm=float(norm),
                    metrics=output.metrics,
                    examples=len(indices),
                    tokens=sum(part.tokens for part in batch.packed),
                    tokens_saved=sum(p.concatenated_tokens - p.tokens for p in batch.packed),
                )
            )
            _check_finite(reports[-1])
            if on_step is not None:
                on_step(reports[-1])
            stopped_early = _drift(whole.branches, config.min_rejected_log_ratio)
            if stopped_early is not None:
                break
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
    optimizer.zero_grad()
    return replace(_summary(reports, stopped_early), state=state)


def steps_of(examples: int, config: UpdateConfig) -> int:
    """Count the optimiser steps of an update on that many examples, unless drift stops it."""
    return config.steps or -(-examples // config.batch_examples) * config.epochs


def _for_batch(
    objective: Objective | Stateful, batch: Batch, state: State
) -> tuple[Objective, State]:
    """The objective with the state for one batch filled in, and that state."""
    if not isinstance(objective, Stateful):
        return objective, state
    loss, advanced = objective.loss, objective.advance(batch.measure(), state)
    return lambda part: loss(part, advanced), advanced


def _check_given(reference: Sequence[Tensor], examples: Sequence[Example]) -> None:
    if not examples:
        raise TrainingError(
            "update() got no examples, expected at least one; collect more episodes, or lower the "
            "pairing's margin."
        )
    if [len(logps) for logps in reference] != [len(example.branches) for example in examples]:
        raise TrainingError(
            f"update() got {len(reference)} reference tensors for {len(examples)} examples, "
            "expected one log-prob for each branch; call reference_logps on the same examples."
        )


def _batches(
    count: int, config: UpdateConfig, rng: random.Random
) -> Iterator[tuple[int, list[int]]]:
    """(epoch, indices) of each step; each epoch is a fresh permutation."""
    left, epoch = steps_of(count, config), 0
    while left > 0:
        order = rng.sample(range(count), count)
        for start in range(0, count, config.batch_examples)[:left]:
            yield epoch, order[start : start + config.batch_examples]
            left -= 1
        epoch += 1


def _learning_rate(config: UpdateConfig, step: int, steps: int) -> float:
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * (1 + math.cos(math.pi * step / steps)) / 2


def _check_finite(report: StepReport) -> None:
    for name in ("loss", "grad_norm"):
        if not math.isfinite(getattr(report, name)):
            raise TrainingError(
                f"The {name} is {getattr(report, name)} at step {report.step}, expected a finite "
                f"number (metrics: {report.metrics}); lower the learning rate, or the objective's "
                "beta or eta. The step was not made."
            )


def _drift(whole: BranchLogps, least: float | None) -> str | None:
    """Why to stop, None to go on."""
    rejected = whole.log_ratio_B[whole.win_prob_B < 0.5]
    if least is None or not len(rejected) or (mean := float(rejected.mean())) >= least:
        return None
    return (
        f"mean log-ratio of rejected branches {mean:.2f} nats is below "
        f"min_rejected_log_ratio={least:g}"
    )


def _summary(reports: Sequence[StepReport], stopped_early: str | None) -> UpdateReport:
    whole = mean_numbers(reports)
    loss, nll, grad_norm = (whole.pop(name) for name in ("loss", "nll", "grad_norm"))
    return UpdateReport(
        steps=len(reports) - (stopped_early is not None),
        loss_first=reports[0].loss,
        loss=loss,
        nll=nll,
        grad_norm=grad_norm,
        metrics=whole,
        last=mean_numbers([r for r in reports if r.epoch == reports[-1].epoch]),
        tokens=sum(report.tokens for report in reports),
        tokens_saved=sum(report.tokens_saved for report in reports),
        stopped_early=stopped_early,
    )


def mean_numbers(reports: Sequence[StepReport]) -> dict[str, float]:
    """The loss, nll, gradient norm and metrics of batches, averaged over their examples.

    A batch may hold one example, so that its own numbers say little.
    """
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for report in reports:
        own = {"loss": report.loss, "nll": report.nll, "grad_norm": report.grad_norm}
        for name, value in (own | report.metrics).items():
            sums[name] = sums.get(name, 0.0) + report.examples * value
            counts[name] = counts.get(name, 0) + report.examples
    return {name: total / counts[name] for name, total in sums.items()}
