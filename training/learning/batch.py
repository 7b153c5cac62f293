"""The examples of one optimiser step, measured in parts that fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from training.config import UpdateConfig
from training.learning.packing import ModelLogps, PackedBatch, measure, pack
from training.learning.reference import (
    Anchor,
    Mismatched,
    Reference,
    ReferenceModel,
    ReferenceTurns,
    mismatched_log_ratios,
)
from training.methods.objectives.base import Objective
from training.methods.objectives.common import nll
from training.methods.objectives.types import (
    AnchorLogps,
    BranchLogps,
    Groups,
    KlLogps,
    MismatchedLogps,
    TurnLogps,
    columns_of,
    extended,
    join,
)
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
        """Pack the examples at `indices`; the reference holds them at the same indices."""
        self._model, self._reference, self._indices = model, reference, indices
        self._config = config
        self.packed = pack([examples[index] for index in indices], config.token_budget)
        self._branches = sum(len(examples[index].branches) for index in indices)
        self._chosen_tokens = sum(_chosen_tokens(part) for part in self.packed)
        self._mismatched_log_ratio_M: Tensor | None = None

    def accumulate(self, objective: Objective) -> Groups:
        """Add up the gradients of the batch's loss.

        Parts are weighted as the whole's means weight them: by branches for the objective (a mean
        over pairs weighs the same, at two branches a pair), by chosen loss tokens for the nll. So
        the gradient does not depend on the split.

        Returns:
            The whole batch's log-probs, without gradient.
        """
        weight, parts = self._config.nll_weight, []
        for packed in self.packed:
            part = self._measure_part(packed)
            loss = objective(part).loss * (len(packed.win_prob_B) / self._branches)
            if weight and (chosen := _chosen_tokens(packed)):
                loss = loss + weight * nll(part.branches) * (chosen / self._chosen_tokens)
            loss.backward()
            parts.append(_detached(part))
        return join(parts)

    def measure(self) -> Groups:
        """Measure the whole batch's log-probs, without gradient."""
        with torch.no_grad():
            return join([self._measure_part(packed) for packed in self.packed])

    def _measure_part(self, packed: PackedBatch) -> Groups:
        measured = self._reference.measured
        kl_from = measured.model if isinstance(measured, ReferenceModel) else None
        policy = measure(self._model, packed, kl_from=kl_from, precision=self._config.precision)
        device = policy.logps_B.device
        places = [self._indices[index] for index in packed.example_indices]
        reference = [self._reference.logps[place] for place in places]
        sizes = torch.tensor([len(logps) for logps in reference])
        branches = BranchLogps(
            policy_logps_B=policy.logps_B,
            reference_logps_B=torch.cat(reference).to(policy.logps_B),
            win_prob_B=packed.win_prob_B.to(policy.logps_B),
            loss_tokens_B=packed.loss_tokens_B.to(device),
            chosen_tokens_per_branch=self._chosen_tokens / self._branches,
        )
        group_B = torch.tensor(places).repeat_interleave(sizes).to(device)
        return Groups(self._with_measurement(branches, policy, packed, places), group_B)

    def _with_measurement(
        self, branches: BranchLogps, policy: ModelLogps, packed: PackedBatch, places: Sequence[int]
    ) -> BranchLogps:
        """The branches of the examples at `places`, with what the objective asked for."""
        like_B = policy.logps_B
        match self._reference.measured:
            case None:
                return branches
            case ReferenceTurns(logps):
                turns = policy.turn_logps_BT.shape[1]
                rows = [pad(logps[place], (0, turns - logps[place].shape[1])) for place in places]
                return extended(
                    branches,
                    TurnLogps,
                    turns_B=packed.turns_B.to(like_B.device),
                    policy_turn_logps_BT=policy.turn_logps_BT,
                    reference_turn_logps_BT=torch.cat(rows).to(like_B),
                )
            case ReferenceModel():
                assert policy.kl_B is not None  # it was measured from that model
                return extended(branches, KlLogps, kl_B=policy.kl_B)
            case Anchor(logps):
                anchor_B = torch.cat([logps[place] for place in places]).to(like_B)
                return extended(branches, AnchorLogps, anchor_logps_B=anchor_B)
            case Mismatched() as mismatched:
                ratio_M = self._mismatched_log_ratios(mismatched)
                return extended(branches, MismatchedLogps, mismatched_log_ratio_M=ratio_M)

    def _mismatched_log_ratios(self, mismatched: Mismatched) -> Tensor:
        """Those of the whole batch, measured once."""
        if self._mismatched_log_ratio_M is None:
            self._mismatched_log_ratio_M = mismatched_log_ratios(
                self._model, mismatched, self._indices, self._config
            )
        return self._mismatched_log_ratio_M


def _detached(part: Groups) -> Groups:
    tensors: dict[str, Any] = {n: v.detach() for n, v in columns_of(part.branches).items()}
    return replace(part, branches=replace(part.branches, **tensors))


def _chosen_tokens(batch: PackedBatch) -> int:
    return int(batch.loss_tokens_B[batch.win_prob_B > 0.5].sum())
