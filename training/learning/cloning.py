"""Behaviour cloning: supervised training on the loss tokens of demonstrations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from random import Random

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from training.config import CloningConfig, Precision
from training.learning.demonstrations import Row
from training.learning.logits import check_plain_head, in_chunks, logits_of
from training.learning.passes import checkpointed, fused, low_precision, mode
from training.learning.under_way import UnderWay

_IGNORED = -100
_PASS_ROWS = 64


def clone(
    model: PreTrainedModel,
    rows: Sequence[Row],
    config: CloningConfig,
    *,
    seed: int,
    on_step: Callable[[int, int, float], None] = lambda step, steps, loss: None,
    under_way: UnderWay | None = None,
) -> float:
    """Train on the loss tokens of the rows; returns the mean loss of the last tenth, nats a token.

    Batches are random: rows bucketed by length would tell the outcome by their length.

    Args:
        under_way: keeps the state now and then; a call with the same arguments goes on from it.

    Raises:
        TrainingError: when the model does more than a projection after its last layer.
        CheckpointError: the kept state cannot be read.
    """
    check_plain_head(model)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.lr, betas=(0.9, 0.95), fused=fused(model)
    )
    steps = math.ceil(len(rows) / config.batch_rows) * config.epochs
    losses = under_way.restore(model, optimiser) if under_way else []
    with mode(model, training=True), checkpointed(model, config.checkpointing):
        for batch in islice(_batches(rows, config, seed), len(losses), None):
            for group in optimiser.param_groups:
                group["lr"] = config.lr * _schedule(len(losses) / steps)
            optimiser.zero_grad(set_to_none=True)
            loss = accumulate_gradient(model, batch, config.precision, config.token_budget)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            losses.append(loss)
            on_step(len(losses), steps, losses[-1])
            if under_way:
                under_way.save_now_and_then(model, optimiser, losses)
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail)


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
    total = sum(sum(row.loss_mask) for row in batch)
    loss = 0.0
    for rows in _passes(batch, token_budget):
        part = _summed_loss(model, rows, precision) / total
        part.backward()
        loss += part.item()
    return loss


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
