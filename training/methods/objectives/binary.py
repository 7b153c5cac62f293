"""KTO and BCO: objectives on single branches that are good or bad, without pairs.

A branch is good where win_prob is above 1/2, bad below; a tie counts in the mean with loss 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envs.options import NonNegative, Positive, Share
from training.methods.lazy_torch import logsigmoid, torch
from training.methods.objectives.base import objective
from training.methods.objectives.common import branch_metrics, is_chosen, is_rejected
from training.methods.objectives.types import (
    BranchLogps,
    MismatchedLogps,
    ObjectiveOutput,
    State,
)

if TYPE_CHECKING:
    from torch import Tensor


def kto_state(branches: MismatchedLogps, state: State) -> State:
    """KTO's KL baseline z of a batch: how far the policy is from the reference on any completion.

    max(0, mean log-ratio of mismatched completions), nats, over the batch and over all ranks
    (arXiv 2402.01306). It carries no gradient, and nothing is kept of earlier batches.
    """
    return {"kl": max(0.0, float(branches.mismatched_log_ratio_M.mean()))}


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
        branches: any; those of pairs and groups are taken one by one.
        state: {"kl": z} from `kto_state`.
        beta: as in `dpo`.
        chosen_weight: 1 unless good and bad are unequally many.
        rejected_weight: 1 unless good and bad are unequally many.
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
        branches: any; those of pairs and groups are taken one by one.
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
