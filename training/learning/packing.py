"""Packs examples into rows of tokens: each trunk is encoded once, and every branch sees it.

A tree is one example (trunk, branch, branch, ...) or several whose trunks begin alike: groups of
one episode have trunks that are prefixes of one another. One row may hold several trees. A token
sees what leads to it, the trunk and its own branch up to itself, and its position is what it would
be if its branch were alone behind the trunk. So log-probs and gradients are those of separate
sequences trunk + branch, and what they share costs once.

Axis suffixes: `_R` rows, `_T` columns, `_N` loss tokens, `_B` branches, `_V` vocabulary.
"""

# ruff: noqa: N815 (axis suffixes)
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import chain, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div
from transformers import PreTrainedModel

from envs.errors import TrainingError
from training.config import Precision
from training.learning.attention import mask_of
from training.learning.logits import in_chunks, logits_of
from training.learning.passes import low_precision
from training.methods.records import BranchTokens, Example

MERGE_FROM = 256
"""Trunks that share fewer tokens stay apart: a wider row costs more attention than they save."""


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Rows to run a model on, and where to read the log-probs of loss tokens.

    Attributes:
        input_ids_RT: tokens; 0 where padded.
        position_ids_RT: positions in the dialogue, not in the row.
        until_RT: the column from which on this one is not seen (`learning.attention`). Padding is
            seen by itself alone: the softmax of a query without any key would be NaN.
        predictor_N: the column that predicts each loss token, as row * T + column. The last
            column of a trunk predicts the first token of every branch.
        target_ids_N: the loss tokens.
        branch_N: the branch of each loss token, 0 to B - 1.
        turn_N: which own turn of its branch a loss token belongs to, from 0. A turn is an unbroken
            run of loss tokens, since the partner's words come between two turns.
        win_prob_B: see `training.methods.records.BranchTokens`.
        loss_tokens_B: number of loss tokens.
        turns_B: number of own turns with loss.
        example_indices: which of the examples given to `pack` are here; their branches follow
            one another in this order.
        tokens: columns that are not padding.
        concatenated_tokens: columns that separate sequences trunk + branch would have taken.
    """

    input_ids_RT: Tensor
    position_ids_RT: Tensor
    until_RT: Tensor
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
    until: list[int] = field(default_factory=list)

    def append(self, token_ids: Sequence[int], first_position: int) -> list[int]:
        """Add columns that stay open: what is added later sees them. Returns them."""
        start = len(self.input_ids)
        self.input_ids += token_ids
        self.position_ids += range(first_position, first_position + len(token_ids))
        self.until += [0] * len(token_ids)
        return list(range(start, start + len(token_ids)))

    def close(self, columns: Sequence[int]) -> None:
        """Hide columns from whatever is added later."""
        for column in columns:
            self.until[column] = len(self.input_ids)

    def pad(self, width: int) -> None:
        """Fill up with columns that see themselves alone."""
        while len(self.input_ids) < width:
            self.close(self.append([0], first_position=0))


@dataclass(slots=True)
class _LossTokens:
    """Loss tokens while rows are filled: lists by loss token, and the last three by branch."""

    predictors: list[int] = field(default_factory=list)
    target_ids: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    win_probs: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    turn_counts: list[int] = field(default_factory=list)

    def append(self, branch: BranchTokens, predictors: Sequence[int]) -> None:
        """Note the loss tokens of one branch.

        Args:
            predictors: the column before each token of the branch, from the batch's first row on.
        """
        turns = 0
        for offset, (token_id, has_loss) in enumerate(
            zip(branch.token_ids, branch.loss_mask, strict=True)
        ):
            if has_loss:
                turns += offset == 0 or not branch.loss_mask[offset - 1]
                self.turns.append(turns - 1)
                self.predictors.append(predictors[offset])
                self.target_ids.append(token_id)
                self.branches.append(len(self.counts))
        self.counts.append(sum(branch.loss_mask))
        self.win_probs.append(branch.win_prob)
        self.turn_counts.append(turns)


def pack(
    examples: Sequence[Example], token_budget: int, *, merge_from: int = MERGE_FROM
) -> list[PackedBatch]:
    """Pack examples into batches of at most `token_budget` columns, padding included.

    Longest first: each batch is as wide as its longest tree, and shorter ones fill the gaps
    first fit. The order is a function of the examples alone.

    Args:
        merge_from: trunks that share at least so many first tokens are laid out as one tree.

    Raises:
        TrainingError: when an example is malformed, or alone exceeds the budget.
    """
    for example in examples:
        _check(example, token_budget)
    trees = _trees(examples, token_budget, merge_from)
    lengths = [_tree_columns([examples[index] for index in tree]) for tree in trees]
    waiting = sorted(range(len(trees)), key=lambda number: -lengths[number])
    batches = []
    while waiting:
        rows = _fill_rows(waiting, lengths, token_budget)
        placed = set(chain.from_iterable(rows))
        waiting = [number for number in waiting if number not in placed]
        laid_out = [[trees[number] for number in row] for row in rows]
        batches.append(_build(examples, laid_out, width=lengths[rows[0][0]]))
    return batches


def _check(example: Example, token_budget: int) -> None:
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

    if (length := columns(example)) > token_budget:
        raise TrainingError(
            f"Example {name!r} takes {length} tokens with all its branches, expected at most "
            f"token_budget={token_budget}; raise the budget or shorten the dialogue."
        )


def _inputs(branch: BranchTokens) -> tuple[int, ...]:
    """The tokens that a loss token of the branch depends on: all before its last loss token."""
    last = max(place for place, has_loss in enumerate(branch.loss_mask) if has_loss)
    return branch.token_ids[:last]


def columns(example: Example) -> int:
    """Count the columns that an example takes by itself, to compare with a token budget."""
    return len(example.trunk_ids) + _branch_columns(example)


def _branch_columns(example: Example) -> int:
    return sum(map(len, {_inputs(branch) for branch in example.branches}))


def _trees(examples: Sequence[Example], budget: int, merge_from: int) -> list[list[int]]:
    """Choose which examples are laid out as one tree, each tree within the budget.

    Within a tree trunks are sorted, so each trunk shares as much with the one before it as with
    any earlier one.
    """
    alike: dict[tuple[int, ...] | int, list[int]] = {}
    for index, example in enumerate(examples):
        start = example.trunk_ids[:merge_from]
        alike.setdefault(start if len(start) == merge_from else index, []).append(index)
    trees: list[list[int]] = []
    for indices in alike.values():
        room = 0
        for index in sorted(indices, key=lambda index: examples[index].trunk_ids):
            length = columns(examples[index])
            if room:
                before = examples[trees[-1][-1]].trunk_ids
                length -= _shared(before, examples[index].trunk_ids)
            if not room or length > room:
                trees.append([])
                room, length = budget, columns(examples[index])
            trees[-1].append(index)
            room -= length
    return trees


def _tree_columns(examples: Sequence[Example]) -> int:
    shared = sum(_shared(a.trunk_ids, b.trunk_ids) for a, b in pairwise(examples))
    return sum(map(columns, examples)) - shared


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Count the tokens that both begin with."""
    unequal = (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    return next(unequal, min(len(first), len(second)))


def _fill_rows(waiting: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Choose trees for one batch, `waiting` being sorted longest first."""
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


def _build(
    examples: Sequence[Example], rows: Sequence[Sequence[Sequence[int]]], width: int
) -> PackedBatch:
    """Lay out rows of trees of examples, given by their indices."""
    laid_out = [_Row() for _ in rows]
    loss = _LossTokens()
    for number, (row, trees) in enumerate(zip(laid_out, rows, strict=True)):
        for tree in trees:
            _append_tree(row, loss, [examples[index] for index in tree], number * width)
    indices = tuple(index for trees in rows for tree in trees for index in tree)
    tokens = sum(len(row.input_ids) for row in laid_out)
    for row in laid_out:
        row.pad(width)
    return PackedBatch(
        input_ids_RT=torch.tensor([row.input_ids for row in laid_out]),
        position_ids_RT=torch.tensor([row.position_ids for row in laid_out]),
        until_RT=torch.tensor([row.until for row in laid_out]),
        predictor_N=torch.tensor(loss.predictors),
        target_ids_N=torch.tensor(loss.target_ids),
        branch_N=torch.tensor(loss.branches),
        turn_N=torch.tensor(loss.turns),
        win_prob_B=torch.tensor(loss.win_probs),
        loss_tokens_B=torch.tensor(loss.counts),
        turns_B=torch.tensor(loss.turn_counts),
        example_indices=indices,
        tokens=tokens,
        concatenated_tokens=sum(_concatenated(examples[index]) for index in indices),
    )


def _append_tree(
    row: _Row, loss: _LossTokens, examples: Sequence[Example], first_column: int
) -> None:
    """Lay out examples whose trunks are sorted: each trunk from where it leaves the one before."""
    trunk_ids: tuple[int, ...] = ()
    path: list[int] = []
    for example in examples:
        shared = _shared(trunk_ids, example.trunk_ids)
        row.close(path[shared:])
        trunk_ids = example.trunk_ids
        path = path[:shared] + row.append(trunk_ids[shared:], first_position=shared)
        encoded: dict[tuple[int, ...], list[int]] = {}
        for branch in example.branches:
            inputs = _inputs(branch)
            if inputs not in encoded:
                encoded[inputs] = row.append(inputs, first_position=len(trunk_ids))
                row.close(encoded[inputs])
            predictors = (path[-1], *encoded[inputs])
            loss.append(branch, [first_column + column for column in predictors])
    row.close(path)


def _concatenated(example: Example) -> int:
    inputs = map(_inputs, example.branches)
    return sum(len(example.trunk_ids) + len(tokens) for tokens in inputs)


@dataclass(frozen=True, slots=True)
class ModelLogps:
    """Log-probs of a batch's branches under one model, in the batch's order.

    Attributes:
        logps_B: log-probs of the loss tokens, summed, nats.
        turn_logps_BT: the same by own turn, 0 behind the last one.
        kl_B: see `KlLogps.kl_B`; None without a second model.
    """

    logps_B: Tensor
    turn_logps_BT: Tensor
    kl_B: Tensor | None


def branch_logps(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
    """Sum the log-probs of the loss tokens of each branch, nats, shape (B,), in the batch's order.

    Only the columns that predict loss tokens are projected to the vocabulary: for a large one the
    logits would be the largest tensor. `learning.probe` says which models this is right for.
    """
    return measure(model, batch).logps_B


def measure(
    model: PreTrainedModel,
    batch: PackedBatch,
    *,
    kl_from: PreTrainedModel | None = None,
    precision: Precision = "float32",
) -> ModelLogps:
    """Compute `branch_logps`, the same by turn, and the KL from a second model if there is one.

    Args:
        kl_from: measure its KL to `model` over the next token at each loss position; no gradient
            flows into it.
        precision: "bfloat16" for matrix products in it; "float32" leaves the model as it is.
    """
    batch = batch.to(model.device)
    hidden = [_hidden(model, batch, precision)]
    if kl_from is not None:
        with torch.no_grad():
            hidden.append(_hidden(kl_from, batch, precision))

    def read(
        target_ids_N: Tensor, hidden_ND: Tensor, other_ND: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        logits_NV = logits_of(model, hidden_ND, precision)
        logps_N = -cross_entropy(logits_NV, target_ids_N, reduction="none")
        if kl_from is None or other_ND is None:
            return (logps_N,)
        with torch.no_grad():
            other_NV = logits_of(kl_from, other_ND, precision).log_softmax(-1)
        kl_NV = kl_div(logits_NV.log_softmax(-1), other_NV, reduction="none", log_target=True)
        return logps_N, kl_NV.sum(-1)

    chunks = in_chunks(read, model.config.get_text_config().vocab_size, batch.target_ids_N, *hidden)
    logps_N, *kl_N = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    branches, turns = len(batch.win_prob_B), int(batch.turns_B.max())
    turn_logps = logps_N.new_zeros(branches * turns).index_add(
        0, batch.branch_N * turns + batch.turn_N, logps_N
    )
    return ModelLogps(
        logps_B=_by_branch(logps_N, batch),
        turn_logps_BT=turn_logps.view(branches, turns),
        kl_B=_by_branch(kl_N[0], batch) if kl_N else None,
    )


def _by_branch(values_N: Tensor, batch: PackedBatch) -> Tensor:
    return values_N.new_zeros(len(batch.win_prob_B)).index_add(0, batch.branch_N, values_N)


def _hidden(model: PreTrainedModel, batch: PackedBatch, precision: Precision) -> Tensor:
    """Last hidden states of the columns that predict loss tokens; shape (N, D)."""
    decoder: nn.Module = model.get_decoder()
    with low_precision(model, precision):
        hidden_RTD: Tensor = decoder(
            input_ids=batch.input_ids_RT,
            attention_mask=mask_of(model, batch.until_RT),
            position_ids=batch.position_ids_RT,
            use_cache=False,
        ).last_hidden_state
    # index_select and not [...]: its backward adds up in a fixed order on a CPU.
    return hidden_RTD.flatten(0, 1).index_select(0, batch.predictor_N)
