"""The examples of one optimiser step: measured in parts that fit into memory, added up as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from training.config import UpdateConfig
from training.learning.packing import PackedBatch, measure, pack
from training.learning.reference import Reference, stranger_log_ratios
from training.methods.objectives.base import BranchLogps, Objective, join
from training.methods.objectives.common import nll
from training.methods.records import Example


class Batch:
    """The examples of one step, in as many parts as the token budget asks for."""

    def __init__(
        self,
        model: PreTrainedModel,
        reference: Reference,
        examples: Sequence[Example],
        indices: Sequence[int],
        config: UpdateConfig,
    ) -> None:
        """Pack the examples at `indices`, which is where the reference has them, too."""
        self._model, self._reference, self._indices = model, reference, indices
        self._config = config
        self.packed = pack([examples[index] for index in indices], config.token_budget)
        self._branches = sum(len(examples[index].branches) for index in indices)
        self._chosen_tokens = sum(_chosen_tokens(part) for part in self.packed)

    def accumulate(self, objective: Objective) -> BranchLogps:
        """Add up the gradients of the batch's loss.

        Parts are weighted as the whole's means weight them: by branches for the objective (a mean
        over pairs weighs the same, at two branches a pair), by chosen loss tokens for the nll. So
        the gradient does not depend on the split.

        Returns:
            The whole batch's log-probs, without gradient.
        """
        weight, parts = self._config.nll_weight, []
        for packed in self.packed:
            part = self._measure(packed)
            loss = objective(part).loss * (len(packed.win_prob_B) / self._branches)
            if weight and (chosen := _chosen_tokens(packed)):
                loss = loss + weight * nll(part) * (chosen / self._chosen_tokens)
            loss.backward()
            parts.append(_detached(part))
        return join(parts)

    def look(self) -> BranchLogps:
        """The whole batch's log-probs, without gradient and without a step."""
        with torch.no_grad():
            whole = join([self._measure(packed) for packed in self.packed])
            if not self._reference.strangers:
                return whole
            ratio_M = stranger_log_ratios(self._model, self._reference, self._indices, self._config)
        return replace(whole, mismatched_log_ratio_M=ratio_M)

    def _measure(self, packed: PackedBatch) -> BranchLogps:
        reference = self._reference
        policy = measure(
            self._model, packed, kl_from=reference.model, precision=self._config.precision
        )
        places = [self._indices[index] for index in packed.example_indices]
        sizes = torch.tensor([len(reference.logps[place]) for place in places])
        turns = policy.turn_logps_BT.shape[1]

        def of_batch(values: Sequence[Tensor], columns: int | None = None) -> Tensor | None:
            if not values:
                return None
            rows = [values[place] for place in places]
            if columns is not None:
                rows = [pad(row, (0, columns - row.shape[1])) for row in rows]
            return torch.cat(rows).to(policy.logps_B)

        reference_logps_B = of_batch(reference.logps)
        assert reference_logps_B is not None  # a reference always has these
        return BranchLogps(
            policy_logps_B=policy.logps_B,
            reference_logps_B=reference_logps_B,
            win_prob_B=packed.win_prob_B.to(policy.logps_B),
            loss_tokens_B=packed.loss_tokens_B.to(policy.logps_B.device),
            group_B=torch.tensor(places).repeat_interleave(sizes).to(policy.logps_B.device),
            turns_B=packed.turns_B.to(policy.logps_B.device),
            policy_turn_logps_BT=policy.turn_logps_BT,
            reference_turn_logps_BT=of_batch(reference.turn_logps, turns),
            kl_B=policy.kl_B,
            anchor_logps_B=of_batch(reference.anchor_logps),
            chosen_tokens_per_branch=self._chosen_tokens / self._branches,
        )


def _detached(branches: BranchLogps) -> BranchLogps:
    values = {f.name: getattr(branches, f.name) for f in fields(branches)}
    tensors = {name: v.detach() for name, v in values.items() if isinstance(v, Tensor)}
    return BranchLogps(**values | tensors)


def _chosen_tokens(batch: PackedBatch) -> int:
    return int(batch.loss_tokens_B[batch.win_prob_B > 0.5].sum())
