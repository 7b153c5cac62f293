"""One update of the policy: seeded epochs over examples, one objective, stop on drift."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from envs.errors import TrainingError
from training.config import UpdateConfig
from training.objectives.base import BranchLogps, Objective, nll
from training.packing import PackedBatch, branch_logps, pack
from training.records import Example

ADAM_BETAS = (0.9, 0.999)
"""Decay rates of AdamW's moments; each update starts with fresh ones."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """One batch, measured before its step was made.

    Attributes:
        step: counts from 0.
        loss: the objective on the whole batch plus the weighted nll.
        nll: negative log-likelihood per token of the chosen branches, nats.
        grad_norm: before it was cut.
        metrics: the objective's own, on the whole batch.
        tokens: tokens encoded; `tokens_saved` more would have been without trunk sharing.
    """

    step: int
    epoch: int
    learning_rate: float
    loss: float
    nll: float
    grad_norm: float
    metrics: dict[str, float]
    tokens: int
    tokens_saved: int


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """A whole update.

    Attributes:
        steps: optimiser steps made.
        loss_first: loss of the first batch; `loss_last`, `nll_last`, `grad_norm_last` and
            `metrics` (log-ratios, margin, accuracy ...) are of the last batch, which the policy
            had seen once less than the number of epochs.
        tokens: tokens encoded for gradients; `tokens_saved` more would have been without trunk
            sharing. The reference pass is not counted.
        stopped_early: why, None when it ran to the end.
    """

    steps: int
    loss_first: float
    loss_last: float
    nll_last: float
    grad_norm_last: float
    metrics: dict[str, float]
    tokens: int
    tokens_saved: int
    stopped_early: str | None

    def numbers(self) -> dict[str, float]:
        """What goes into metrics.jsonl."""
        return {
            "steps": self.steps,
            "loss_first": self.loss_first,
            "loss": self.loss_last,
            "nll": self.nll_last,
            "grad_norm": self.grad_norm_last,
            "tokens": self.tokens,
            "tokens_saved": self.tokens_saved,
            "stopped_early": float(self.stopped_early is not None),
            **self.metrics,
        }


def reference_logps(
    model: PreTrainedModel, examples: Sequence[Example], *, token_budget: int = 8192
) -> list[Tensor]:
    """Log-probs of the loss tokens of each branch, summed, nats; one tensor (branches,) an example.

    Computed once before an update: where the policy starts from its reference, the weights that
    give these numbers are gone after the first step.
    """
    logps: list[Tensor] = [torch.empty(0)] * len(examples)
    with _mode(model, training=False), torch.no_grad():
        for batch in pack(examples, token_budget):
            sizes = [len(examples[index].branches) for index in batch.example_indices]
            parts = torch.split(branch_logps(model, batch).cpu(), sizes)
            for index, part in zip(batch.example_indices, parts, strict=True):
                logps[index] = part
    return logps


def update(
    model: PreTrainedModel,
    reference: Sequence[Tensor],
    examples: Sequence[Example],
    *,
    objective: Objective,
    config: UpdateConfig,
    seed: int,
    on_step: Callable[[StepReport], None] | None = None,
) -> UpdateReport:
    """Train `model` in place on the examples.

    The same weights, examples, seed and thread count give the same weights, bit for bit, on a CPU,
    as long as the model has no dropout.

    Args:
        reference: from `reference_logps` on the same examples, in the same order.
        objective: its loss must be a mean over branches or over pairs.
        on_step: called before each optimiser step, and for the batch at which drift stops it.

    Raises:
        TrainingError: when there is nothing to train on or a number is not finite; the weights
            are then those of the last good step.
    """
    _check(reference, examples)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=ADAM_BETAS, weight_decay=0.0
    )
    batches = list(_batches(len(examples), config, random.Random(seed)))
    reports: list[StepReport] = []
    stopped_early = None
    with _mode(model, training=True):
        for step, (epoch, indices) in enumerate(batches):
            optimizer.zero_grad()
            whole, packed = _accumulate(
                model,
                [reference[index] for index in indices],
                [examples[index] for index in indices],
                objective,
                config,
            )
            output, chosen_nll = objective(whole), float(nll(whole))
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
                    tokens=sum(batch.tokens for batch in packed),
                    tokens_saved=sum(b.concatenated_tokens - b.tokens for b in packed),
                )
            )
            _check_finite(reports[-1])
            if on_step is not None:
                on_step(reports[-1])
            stopped_early = _drift(whole, config.min_rejected_log_ratio)
            if stopped_early is not None:
                break
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
    optimizer.zero_grad()
    return _summary(reports, stopped_early)


def _check(reference: Sequence[Tensor], examples: Sequence[Example]) -> None:
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
    for epoch in range(config.epochs):
        order = rng.sample(range(count), count)
        for start in range(0, count, config.batch_examples):
            yield epoch, order[start : start + config.batch_examples]


def _accumulate(
    model: PreTrainedModel,
    reference: Sequence[Tensor],
    examples: Sequence[Example],
    objective: Objective,
    config: UpdateConfig,
) -> tuple[BranchLogps, list[PackedBatch]]:
    """Add up the gradients of the batch's loss, in as many parts as the token budget asks for.

    Parts are weighted as the whole's means weight them: by branches for the objective (a mean
    over pairs weighs the same, at two branches a pair), by chosen loss tokens for the nll. So the
    gradient does not depend on the split.

    Returns:
        The whole batch's log-probs, without gradient, and how it was packed.
    """
    packed = pack(examples, config.token_budget)
    branches_total = sum(len(example.branches) for example in examples)
    chosen_total = sum(_chosen_tokens(batch) for batch in packed)
    parts = []
    for batch in packed:
        part = _logps(model, reference, batch)
        loss = objective(part).loss * (len(batch.win_prob_B) / branches_total)
        if config.nll_weight and (chosen := _chosen_tokens(batch)):
            loss = loss + config.nll_weight * nll(part) * (chosen / chosen_total)
        loss.backward()
        parts.append(replace(part, policy_logps_B=part.policy_logps_B.detach()))
    columns = [f.name for f in fields(BranchLogps)]
    whole = BranchLogps(**{c: torch.cat([getattr(part, c) for part in parts]) for c in columns})
    return whole, packed


def _logps(model: PreTrainedModel, reference: Sequence[Tensor], batch: PackedBatch) -> BranchLogps:
    policy_logps_B = branch_logps(model, batch)
    reference_logps_B = torch.cat([reference[index] for index in batch.example_indices])
    return BranchLogps(
        policy_logps_B=policy_logps_B,
        reference_logps_B=reference_logps_B.to(policy_logps_B),
        win_prob_B=batch.win_prob_B.to(policy_logps_B),
        loss_tokens_B=batch.loss_tokens_B.to(policy_logps_B.device),
    )


def _chosen_tokens(batch: PackedBatch) -> int:
    return int(batch.loss_tokens_B[batch.win_prob_B > 0.5].sum())


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
    last = reports[-1]
    return UpdateReport(
        steps=len(reports) - (stopped_early is not None),
        loss_first=reports[0].loss,
        loss_last=last.loss,
        nll_last=last.nll,
        grad_norm_last=last.grad_norm,
        metrics=last.metrics,
        tokens=sum(report.tokens for report in reports),
        tokens_saved=sum(report.tokens_saved for report in reports),
        stopped_early=stopped_early,
    )


@contextmanager
def _mode(model: PreTrainedModel, *, training: bool) -> Iterator[None]:
    """Switch between training and evaluation, and back at the end."""
    before = model.training
    model.train(training)
    try:
        yield
    finally:
        model.train(before)
