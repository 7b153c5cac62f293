"""Examples as rows of tokens: each trunk is encoded once, and every branch sees it.

A block is one example: trunk, branch, branch, ... One row may hold several blocks. A token sees
the trunk of its block up to itself and its own branch up to itself, and its position is what it
would be if its branch were alone behind the trunk. So log-probs and gradients are those of
separate sequences trunk + branch, and the trunk costs once instead of once a branch.

Axis suffixes: `_R` rows, `_T` columns, `_N` loss tokens, `_B` branches, `_V` vocabulary.
"""

# ruff: noqa: N815 (axis suffixes)
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div
from transformers import PreTrainedModel

from envs.errors import TrainingError
from training.records import BranchTokens, Example

PADDING = -1
"""The block number of columns that belong to no example."""


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Rows to run a model on, and where to read the log-probs of loss tokens.

    Attributes:
        input_ids_RT: tokens; 0 where padded.
        position_ids_RT: positions in the dialogue, not in the row.
        block_RT: which block of its row a column belongs to, `PADDING` for none.
        segment_RT: 0 in a trunk, k in the k-th branch of its block.
        predictor_N: the column that predicts each loss token, as row * T + column. The last
            column of a trunk predicts the first token of every branch.
        target_ids_N: the loss tokens.
        branch_N: the branch of each loss token, 0 to B - 1.
        turn_N: which own turn of its branch a loss token belongs to, from 0: a turn is an unbroken
            run of loss tokens, for what the partner says comes between two of them.
        win_prob_B: see `training.records.BranchTokens`.
        loss_tokens_B: number of loss tokens.
        turns_B: number of own turns with loss.
        example_indices: which of the examples given to `pack` are here; their branches follow
            one another in this order.
        tokens: columns that are not padding.
        concatenated_tokens: columns that separate sequences trunk + branch would have taken.
    """

    input_ids_RT: Tensor
    position_ids_RT: Tensor
    block_RT: Tensor
    segment_RT: Tensor
    predictor_N: Tensor
    target_ids_N: Tensor
    branch_N: Tensor
    turn_N: Tensor
    win_prob_B: Tensor
    loss_tokens_B: Tensor
    turns_B: Tensor
    example_indices: tuple[int, ...]
    tokens: int
    concatenated_tokens: int

    def attention_mask(self, dtype: torch.dtype) -> Tensor:
        """Build what is added to attention scores: 0 where seen, else the least number.

        Returns:
            Shape (R, 1, T, T): row, head, query, key. Padding sees padding, so that no query is
            left without a key (its softmax would be NaN).
        """
        width = self.block_RT.shape[1]
        same_block = self.block_RT[:, :, None] == self.block_RT[:, None, :]
        same_segment = self.segment_RT[:, :, None] == self.segment_RT[:, None, :]
        key_in_trunk = (self.segment_RT == 0)[:, None, :]
        causal = torch.ones(width, width, dtype=torch.bool, device=same_block.device).tril()
        seen = same_block & (same_segment | key_in_trunk) & causal
        mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]

    def to(self, device: torch.device) -> PackedBatch:
        """The same batch with its tensors on a device."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        return PackedBatch(**values | {name: t.to(device) for name, t in tensors.items()})


@dataclass(slots=True)
class _Row:
    """A row while it is filled; lists of one number a column."""

    input_ids: list[int] = field(default_factory=list)
    position_ids: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    block_count: int = 0

    def append(self, token_ids: Sequence[int], first_position: int, segment: int) -> None:
        self.input_ids += token_ids
        self.position_ids += range(first_position, first_position + len(token_ids))
        self.blocks += [self.block_count] * len(token_ids)
        self.segments += [segment] * len(token_ids)


@dataclass(slots=True)
class _LossTokens:
    """Loss tokens while rows are filled; lists of one number a loss token, but the last three."""

    predictors: list[int] = field(default_factory=list)
    target_ids: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    win_probs: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    turn_counts: list[int] = field(default_factory=list)

    def append(self, branch: BranchTokens, trunk_end: int, start: int) -> None:
        """Note the loss tokens of one branch.

        Args:
            trunk_end: the column after the trunk, counted from the batch's first row on.
            start: the column of the branch's first token, counted likewise.
        """
        turns = 0
        for offset, (token_id, has_loss) in enumerate(
            zip(branch.token_ids, branch.loss_mask, strict=True)
        ):
            if has_loss:
                turns += offset == 0 or not branch.loss_mask[offset - 1]
                self.turns.append(turns - 1)
                self.predictors.append(start + offset - 1 if offset else trunk_end - 1)
                self.target_ids.append(token_id)
                self.branches.append(len(self.counts))
        self.counts.append(sum(branch.loss_mask))
        self.win_probs.append(branch.win_prob)
        self.turn_counts.append(turns)


def pack(examples: Sequence[Example], token_budget: int) -> list[PackedBatch]:
    """Lay examples out in batches of at most `token_budget` columns, padding included.

    Longest first: each batch is as wide as its longest example, and shorter ones fill the gaps
    first fit. The order is a function of the examples alone.

    Raises:
        TrainingError: when an example is malformed, or alone exceeds the budget.
    """
    for example in examples:
        _check(example)
    lengths = [columns(example) for example in examples]
    waiting = sorted(range(len(examples)), key=lambda index: -lengths[index])
    if waiting and lengths[waiting[0]] > token_budget:
        raise TrainingError(
            f"Example {examples[waiting[0]].group_id!r} takes {lengths[waiting[0]]} tokens with "
            f"all its branches, expected at most token_budget={token_budget}; "
            "raise the budget or shorten the dialogue."
        )
    batches = []
    while waiting:
        rows = _fill_rows(waiting, lengths, token_budget)
        placed = set(chain.from_iterable(rows))
        waiting = [index for index in waiting if index not in placed]
        batches.append(_build(examples, rows, width=lengths[rows[0][0]]))
    return batches


def _check(example: Example) -> None:
    name = example.group_id
    if not example.trunk_ids or not example.branches:
        raise TrainingError(
            f"Example {name!r} has {len(example.trunk_ids)} trunk tokens and "
            f"{len(example.branches)} branches, expected at least one of each; "
            "begin the trunk with the prompt."
        )
    for number, branch in enumerate(example.branches):
        if len(branch.token_ids) != len(branch.loss_mask) or not any(branch.loss_mask):
            raise TrainingError(
                f"Branch {number} of example {name!r} has {len(branch.token_ids)} tokens and a "
                f"loss mask of length {len(branch.loss_mask)} with {sum(branch.loss_mask)} set, "
                "expected equal lengths and at least one; check the pairing."
            )


def _inputs(branch: BranchTokens) -> tuple[int, ...]:
    """The tokens that a loss token of the branch depends on: all before its last loss token."""
    last = max(place for place, has_loss in enumerate(branch.loss_mask) if has_loss)
    return branch.token_ids[:last]


def columns(example: Example) -> int:
    """How many columns of a row an example takes; compare with a token budget."""
    return len(example.trunk_ids) + sum(len(_inputs(branch)) for branch in example.branches)


def _fill_rows(waiting: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Choose examples for one batch, `waiting` being sorted longest first."""
    width = lengths[waiting[0]]
    rows: list[list[int]] = []
    room: list[int] = []
    for index in waiting:
        length = lengths[index]
        row = next((number for number, free in enumerate(room) if free >= length), None)
        if row is None:
            if (len(rows) + 1) * width > budget:
                continue
            rows.append([])
            room.append(width)
            row = len(rows) - 1
        rows[row].append(index)
        room[row] -= length
    return rows


def _build(examples: Sequence[Example], rows: list[list[int]], width: int) -> PackedBatch:
    laid_out = [_Row() for _ in rows]
    loss = _LossTokens()
    concatenated_tokens = 0
    for row_index, (row, indices) in enumerate(zip(laid_out, rows, strict=True)):
        for index in indices:
            _append_block(row, loss, examples[index], first_column=row_index * width)
            inputs = (_inputs(branch) for branch in examples[index].branches)
            concatenated_tokens += sum(len(examples[index].trunk_ids) + len(i) for i in inputs)
    return PackedBatch(
        input_ids_RT=_padded([row.input_ids for row in laid_out], width, 0),
        position_ids_RT=_padded([row.position_ids for row in laid_out], width, 0),
        block_RT=_padded([row.blocks for row in laid_out], width, PADDING),
        segment_RT=_padded([row.segments for row in laid_out], width, 0),
        predictor_N=torch.tensor(loss.predictors),
        target_ids_N=torch.tensor(loss.target_ids),
        branch_N=torch.tensor(loss.branches),
        turn_N=torch.tensor(loss.turns),
        win_prob_B=torch.tensor(loss.win_probs),
        loss_tokens_B=torch.tensor(loss.counts),
        turns_B=torch.tensor(loss.turn_counts),
        example_indices=tuple(chain.from_iterable(rows)),
        tokens=sum(len(row.input_ids) for row in laid_out),
        concatenated_tokens=concatenated_tokens,
    )


def _append_block(row: _Row, loss: _LossTokens, example: Example, first_column: int) -> None:
    trunk_length = len(example.trunk_ids)
    row.append(example.trunk_ids, first_position=0, segment=0)
    trunk_end = first_column + len(row.input_ids)
    for number, branch in enumerate(example.branches, start=1):
        loss.append(branch, trunk_end, start=first_column + len(row.input_ids))
        row.append(_inputs(branch), first_position=trunk_length, segment=number)
    row.block_count += 1


def _padded(rows: list[list[int]], width: int, value: int) -> Tensor:
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


@dataclass(frozen=True, slots=True)
class Measured:
    """What one model says of a batch's branches, in the batch's order.

    Attributes:
        logps_B: log-probs of the loss tokens, summed, nats.
        turn_logps_BT: the same by own turn, 0 behind the last one.
        kl_B: see `BranchLogps.kl_B`; None without a second model.
    """

    logps_B: Tensor
    turn_logps_BT: Tensor
    kl_B: Tensor | None


def branch_logps(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
    """Sum the log-probs of the loss tokens of each branch, nats, shape (B,), in the batch's order.

    Only the columns that predict loss tokens are projected to the vocabulary: for a large one the
    logits would be the largest tensor. The model's attention must take an additive mask (eager or
    sdpa), and span the whole row: a sliding window counts columns, not positions.

    Raises:
        TrainingError: when the model does more than a projection after its last layer.
    """
    return measure(model, batch).logps_B


def measure(
    model: PreTrainedModel, batch: PackedBatch, *, kl_from: PreTrainedModel | None = None
) -> Measured:
    """Everything of `branch_logps`, and by turns.

    Args:
        kl_from: measure its KL to `model` over the next token at each loss position; no gradient
            flows into it. Holds both models' logits in memory.
    """
    batch = batch.to(model.device)
    logits_NV = _loss_logits(model, batch)
    logps_N = -cross_entropy(logits_NV, batch.target_ids_N, reduction="none")
    branches, turns = len(batch.win_prob_B), int(batch.turns_B.max())
    turn_logps = logps_N.new_zeros(branches * turns).index_add(
        0, batch.branch_N * turns + batch.turn_N, logps_N
    )
    kl_B = None
    if kl_from is not None:
        with torch.no_grad():
            other_NV = _loss_logits(kl_from, batch).log_softmax(-1)
        kl_NV = kl_div(logits_NV.log_softmax(-1), other_NV, reduction="none", log_target=True)
        kl_B = _by_branch(kl_NV.sum(-1), batch)
    return Measured(_by_branch(logps_N, batch), turn_logps.view(branches, turns), kl_B)


def _by_branch(values_N: Tensor, batch: PackedBatch) -> Tensor:
    return values_N.new_zeros(len(batch.win_prob_B)).index_add(0, batch.branch_N, values_N)


def _loss_logits(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
    """Logits that predict the loss tokens; shape (N, V), float32 at least."""
    _check_plain_head(model)
    decoder: nn.Module = model.get_decoder()
    head: nn.Module = model.get_output_embeddings()
    hidden_RTD: Tensor = decoder(
        input_ids=batch.input_ids_RT,
        attention_mask=batch.attention_mask(model.dtype),
        position_ids=batch.position_ids_RT,
        use_cache=False,
    ).last_hidden_state
    # index_select and not [...]: its backward adds up in a fixed order on a CPU.
    logits_NV: Tensor = head(hidden_RTD.flatten(0, 1).index_select(0, batch.predictor_N))
    # float32 at least: half precision loses the small differences that preferences are made of.
    return logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))


def _check_plain_head(model: PreTrainedModel) -> None:
    for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
        value = getattr(model.config, name, None)
        if value not in (None, 1, 1.0):
            raise TrainingError(
                f"{type(model).__name__} has {name}={value}, expected a plain projection from the "
                "last hidden state to the logits; use a model of the Llama or Qwen kind."
            )
