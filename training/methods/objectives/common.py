"""What objectives share: metrics to log, likelihood of the chosen, means within groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.methods.lazy_torch import torch
from training.methods.objectives.base import BranchLogps, ObjectiveOutput, Pairs

if TYPE_CHECKING:
    from torch import Tensor


def over_pairs(both: Pairs, loss_P: Tensor, **metrics: float) -> ObjectiveOutput:
    """The mean of a loss of shape (P,), with the metrics of pairs and any further ones."""
    return ObjectiveOutput(loss=loss_P.mean(), metrics=pair_metrics(both) | metrics)


def pair_metrics(pairs: Pairs) -> dict[str, float]:
    """Where the policy stands on pairs.

    Returns:
        `chosen_log_ratio`, `rejected_log_ratio` and `margin` in nats, means over pairs; `accuracy`,
        the share of pairs with a positive margin, ties counted as 1/2.
    """
    margin_P = pairs.margin_P.detach()
    return {
        "chosen_log_ratio": float(pairs.chosen.log_ratio_B.detach().mean()),
        "rejected_log_ratio": float(pairs.rejected.log_ratio_B.detach().mean()),
        "margin": float(margin_P.mean()),
        "accuracy": float((margin_P.sign() + 1).mean() / 2),
    }


def branch_metrics(branches: BranchLogps) -> dict[str, float]:
    """Means over winners and over losers, as `pair_metrics` gives them over pairs.

    `accuracy` is the share of decided branches (win_prob other than 1/2) whose log-ratio has the
    sign of win_prob - 1/2, zeros counted as 1/2. What has no branches to speak of is left out.
    """
    log_ratio_B = branches.log_ratio_B.detach()
    chosen_B, rejected_B = is_chosen(branches), is_rejected(branches)
    metrics = _mean("chosen_log_ratio", log_ratio_B[chosen_B])
    metrics |= _mean("rejected_log_ratio", log_ratio_B[rejected_B])
    if len(metrics) == 2:
        metrics["margin"] = metrics["chosen_log_ratio"] - metrics["rejected_log_ratio"]
    decided_B = chosen_B | rejected_B
    agreement_B = log_ratio_B.sign() * (branches.win_prob_B - 0.5).sign()
    return metrics | _mean("accuracy", (agreement_B[decided_B] + 1) / 2)


def _mean(name: str, values: Tensor) -> dict[str, float]:
    return {name: float(values.mean())} if len(values) else {}


def is_chosen(branches: BranchLogps) -> Tensor:
    """Which branches win more often than they lose; bool, shape (B,)."""
    return branches.win_prob_B > 0.5


def is_rejected(branches: BranchLogps) -> Tensor:
    """Which branches lose more often than they win; bool, shape (B,). A tie is neither."""
    return branches.win_prob_B < 0.5


def nll(branches: BranchLogps) -> Tensor:
    """Mean negative log-likelihood per loss token of the chosen branches, nats; scalar.

    Added to an objective with a weight, it keeps the chosen branches from becoming less probable
    (arXiv 2404.19733, eq. 1). Zero when no branch is chosen.
    """
    chosen_B = is_chosen(branches)
    tokens = branches.loss_tokens_B[chosen_B].sum().clamp(min=1)
    return -branches.policy_logps_B[chosen_B].sum() / tokens


def token_nll(branches: BranchLogps) -> Tensor:
    """The same number as `nll`, as a mean over branches: for use inside an objective.

    A part of a batch does not know how many tokens the other parts have, so it divides by the
    batch's `chosen_tokens_per_branch`; parts averaged by branches then give the batch's `nll`.
    """
    chosen_logps_B = branches.policy_logps_B[is_chosen(branches)]
    return _per_branch_nll(branches, chosen_logps_B, len(branches.win_prob_B))


def pair_nll(pairs: Pairs) -> Tensor:
    """`token_nll` of pairs, of which each is two branches."""
    logps_P = pairs.chosen.policy_logps_B.contiguous()
    return _per_branch_nll(pairs.chosen, logps_P, 2 * len(logps_P))


def _per_branch_nll(chosen: BranchLogps, chosen_logps_B: Tensor, branches: int) -> Tensor:
    per_branch = chosen.chosen_tokens_per_branch
    if per_branch is None:
        return nll(chosen)
    total = chosen_logps_B.sum()
    return -total / (branches * per_branch) if per_branch else -total


def group_mean(values_B: Tensor, group_B: Tensor) -> Tensor:
    """Of each branch's group; shape (B,)."""
    _, index_B = group_B.unique(return_inverse=True)
    groups = int(index_B.max()) + 1
    sums = values_B.new_zeros(groups).index_add(0, index_B, values_B)
    return (sums / torch.bincount(index_B, minlength=groups))[index_B]
