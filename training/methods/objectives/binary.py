"""Objectives on single branches that are good or bad, in no pairs: KTO and BCO.

A branch is good where win_prob is above 1/2, bad below; a tie counts in the mean with loss 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envs.options import NonNegative, Positive, Share
from training.methods.lazy_torch import logsigmoid, torch
from training.methods.objectives.base import BranchLogps, ObjectiveOutput, State, needed, objective
from training.methods.objectives.common import branch_metrics, is_chosen, is_rejected

if TYPE_CHECKING:
    from torch import Tensor


def kto_state(branches: BranchLogps, state: State) -> State:
    """KTO's reference point z of a batch: how far the policy is from the reference on any reply.

    max(0, mean log-ratio of replies behind other trunks), nats, over the batch and over all ranks
    (arXiv 2402.01306). It carries no gradient. Nothing is kept of earlier batches.
    """
    mismatched_M = needed(branches.mismatched_log_ratio_M, "mismatched_log_ratio_M", "kto")
    return {"kl": max(0.0, float(mismatched_M.mean()))}


@objective("kto", reads="branches", measures="mismatched", state=kto_state)
def kto(
    branches: BranchLogps,
    *,
    state: State,
    beta: Positive,
    chosen_weight: NonNegative,
    rejected_weight: NonNegative,
) -> ObjectiveOutput:
    """Kahneman-Tversky optimisation (arXiv 2402.01306, eq. 7).

        chosen_weight * (1 - sigmoid(beta * (log-ratio - z)))    of a good branch
        rejected_weight * (1 - sigmoid(beta * (z - log-ratio)))  of a bad one; mean over branches

    Args:
        branches: any; pairs and groups are read as single branches.
        state: {"kl": z} from `kto_state`.
        beta: as in `dpo`.
        chosen_weight: 1 unless good and bad are unequally many.
        rejected_weight: so too.
    """
    gain_B = beta * (branches.log_ratio_B - state["kl"])
    good_B = chosen_weight * torch.sigmoid(-gain_B)
    bad_B = rejected_weight * torch.sigmoid(gain_B)
    metrics = branch_metrics(branches) | {"kl": state["kl"]}
    return ObjectiveOutput(loss=_by_kind(branches, good_B, bad_B).mean(), metrics=metrics)


def bco_state(branches: BranchLogps, state: State, *, beta: Positive, momentum: Share) -> State:
    """BCO's reward shift d: the running mean of beta * log-ratio over good and bad branches.

    Args:
        branches: the whole batch, over all ranks.
        state: {"delta": d} of the batch before; the first batch's mean is taken as it is.
        beta: as in `bco`.
        momentum: weight of the batches before, 0 to 1.
    """
    decided_B = is_chosen(branches) | is_rejected(branches)
    if not decided_B.any():
        return {"delta": state.get("delta", 0.0)}
    mean = float(beta * branches.log_ratio_B[decided_B].detach().mean())
    return {"delta": momentum * state.get("delta", mean) + (1 - momentum) * mean}


@objective("bco", reads="branches", state=bco_state)
def bco(branches: BranchLogps, *, state: State, beta: Positive) -> ObjectiveOutput:
    """Binary classifier optimisation (arXiv 2404.04656).

        -log sigmoid(beta * log-ratio - d)     of a good branch
        -log sigmoid(-(beta * log-ratio - d))  of a bad one; mean over branches

    Args:
        branches: any; pairs and groups are read as single branches.
        state: {"delta": d} from `bco_state`.
        beta: as in `dpo`.
    """
    gain_B = beta * branches.log_ratio_B - state["delta"]
    loss_B = _by_kind(branches, -logsigmoid(gain_B), -logsigmoid(-gain_B))
    metrics = branch_metrics(branches) | {"delta": state["delta"]}
    return ObjectiveOutput(loss=loss_B.mean(), metrics=metrics)


def _by_kind(branches: BranchLogps, good_B: Tensor, bad_B: Tensor) -> Tensor:
    zero_B = torch.zeros_like(good_B)
    return torch.where(
        is_chosen(branches), good_B, torch.where(is_rejected(branches), bad_B, zero_B)
    )
