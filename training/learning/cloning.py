"""Behaviour cloning: supervised training on the loss tokens of demonstrations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from envs.errors import TrainingError
from training.config import CloningConfig, Precision
from training.learning.demonstrations import Row
from training.learning.logits import in_chunks, logits_of
from training.learning.passes import checkpointed, deterministic, fused, low_precision
from training.learning.under_way import UnderWay

_IGNORED = -100
_PASS_ROWS = 64


@dataclass(frozen=True, slots=True)
class Cloned:
    """How behaviour cloning went, in nats a token.

    Attributes:
        loss: mean of the last tenth of the steps.
        start: loss of the first batch before anything was learned.
        end: loss of the same batch under the final weights.
    """

    loss: float
    start: float
    end: float


def clone(
    model: PreTrainedModel,
    rows: Sequence[Row],
    config: CloningConfig,
    *,
    seed: int,
    on_step: Callable[[int, int, float], None] = lambda step, steps, loss: None,
    under_way: UnderWay | None = None,
) -> Cloned:
    """Train on the loss tokens of the rows.

    Batches are random: rows bucketed by length would tell the outcome by their length.

    Args:
        under_way: keeps the state now and then; a call with the same arguments goes on from it.

    Raises:
        TrainingError: the loss is not finite; or activations are to be recomputed, and the model
            cannot do that.
        CheckpointError: the kept state cannot be read.
    """
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.lr, betas=(0.9, 0.95), fused=fused(model)
    )
    steps = math.ceil(len(rows) / config.batch_rows) * config.epochs
    losses = under_way.restore(model, optimiser) if under_way else []
    with deterministic(model), checkpointed(model, config.checkpointing):
        for batch in islice(_batches(rows, config, seed), len(losses), None):
            for group in optimiser.param_groups:
                group["lr"] = config.lr * _schedule(len(losses) / steps)
            optimiser.zero_grad(set_to_none=True)
            loss = accumulate_gradient(model, batch, config.precision, config.token_budget)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            losses.append(loss)
            _check_finite(loss, f"at step {len(losses)}", config)
            on_step(len(losses), steps, losses[-1])
            if under_way:
                under_way.save_now_and_then(model, optimiser, losses)
        with torch.no_grad():
            first = next(_batches(rows, config, seed))
            end = _mean_loss(model, first, config.precision, config.token_budget)
    _check_finite(end, "after the last step", config)
    tail = losses[-max(1, len(losses) // 10) :]
    return Cloned(sum(tail) / len(tail), start=losses[0], end=end)


def _check_finite(loss: float, when: str, config: CloningConfig) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"The loss of stage 0 is {loss} {when}, expected a finite number; lower cloning.lr, "
            f"which is {config.lr:g}, or choose another model. Nothing was kept."
        )


def _batches(rows: Sequence[Row], config: CloningConfig, seed: int) -> Iterator[list[Row]]:
    """The rows of each step; each epoch is a fresh permutation."""
    for epoch in range(config.epochs):
        order = list(range(len(rows)))
        Random(f"order/{seed}/{epoch}").shuffle(order)
        for start in range(0, len(order), config.batch_rows):
            yield [rows[i] for i in order[start : start + config.batch_rows]]


def _schedule(progress: float) -> float:
    if progress < 0.05:
        return progress / 0.05 + 0.01
    return 0.1 + 0.9 * (1 + math.cos(math.pi * progress)) / 2


def accumulate_gradient(
    model: PreTrainedModel,
    batch: Sequence[Row],
    precision: Precision = "float32",
    token_budget: int | None = None,
) -> float:
    """Add the gradient of the batch's mean loss; returns that loss, nats a token.

    Args:
        token_budget: columns of a pass, padding included; a longer row has a pass of its own. None:
            64 rows a pass.
    """
    loss = 0.0
    for part in _shares(model, batch, precision, token_budget):
        part.backward()
        loss += part.item()
    return loss


def _mean_loss(
    model: PreTrainedModel, batch: Sequence[Row], precision: Precision, token_budget: int | None
) -> float:
    return sum(part.item() for part in _shares(model, batch, precision, token_budget))


def _shares(
    model: PreTrainedModel, batch: Sequence[Row], precision: Precision, token_budget: int | None
) -> Iterator[Tensor]:
    """The share of each pass in the batch's mean loss."""
    total = sum(sum(row.loss_mask) for row in batch)
    for rows in _passes(batch, token_budget):
        yield _summed_loss(model, rows, precision) / total


def _passes(batch: Sequence[Row], token_budget: int | None) -> Iterator[list[Row]]:
    """The rows of each pass; rows of like length share one, which leaves little padding."""
    part: list[Row] = []
    for row in sorted(batch, key=lambda row: len(row.token_ids)):
        columns = (len(part) + 1) * len(row.token_ids)  # rows come in order: this one is longest
        full = len(part) == _PASS_ROWS if token_budget is None else columns > token_budget
        if part and full:
            yield part
            part = []
        part.append(row)
    if part:
        yield part


def _summed_loss(model: PreTrainedModel, batch: Sequence[Row], precision: Precision) -> Tensor:
    width = max(len(row.token_ids) for row in batch)
    ids_BT = torch.zeros(len(batch), width, dtype=torch.long)
    labels_BT = torch.full((len(batch), width), _IGNORED)
    for n, row in enumerate(batch):
        ids_BT[n, : len(row.token_ids)] = torch.tensor(row.token_ids)
        labels_BT[n, : len(row.token_ids)] = torch.where(
            torch.tensor(row.loss_mask), torch.tensor(row.token_ids), _IGNORED
        )
    ids_BT, labels_BT = ids_BT.to(model.device), labels_BT.to(model.device)
    targets_BT = labels_BT[:, 1:]
    chosen_BT = targets_BT != _IGNORED
    with low_precision(model, precision):
        # The model is causal, so that what is padded on the right is never looked at.
        hidden_BTD = model.get_decoder()(input_ids=ids_BT).last_hidden_state

    def read(hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        logits_NV = logits_of(model, hidden_ND, precision)
        return cross_entropy(logits_NV, targets_N, reduction="sum")

    hidden_ND, targets_N = hidden_BTD[:, :-1][chosen_BT], targets_BT[chosen_BT]
    first, *others = in_chunks(
        read, model.config.get_text_config().vocab_size, hidden_ND, targets_N
    )
    return sum(others, first)
