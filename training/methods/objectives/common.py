"""What objectives share: a mean over pairs, metrics to log, likelihood of the chosen branches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.methods.objectives.types import BranchLogps, ObjectiveOutput, Pairs

if TYPE_CHECKING:
    from torch import Tensor


def over_pairs(pairs: Pairs, loss_P: Tensor, **metrics: float) -> ObjectiveOutput:
    """Average a loss of shape (P,), and log `pair_metrics` and any further numbers beside it."""
    return ObjectiveOutput(loss=loss_P.mean(), metrics=pair_metrics(pairs) | metrics)


def pair_metrics(pairs: Pairs) -> dict[str, float]:
    """Measure how well the policy tells the chosen from the rejected sides of pairs.

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
    """Measure the same as `pair_metrics` on branches without pairs: on winners and on losers.

    `accuracy` is the share of decided branches (win_prob other than 1/2) whose log-ratio has the
    sign of win_prob - 1/2, zeros counted as 1/2. A metric over no branches is left out.
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
    """Compute `nll` as a mean over branches, for use inside an objective.

    A part of a batch does not know how many tokens the other parts have, so it divides by the
    batch's `chosen_tokens_per_branch`; parts averaged by branches then give the batch's `nll`.
    """
    chosen_logps_B = branches.policy_logps_B[is_chosen(branches)]
    return _per_branch_nll(branches, chosen_logps_B, len(branches.win_prob_B))


def pair_nll(pairs: Pairs) -> Tensor:
    """Compute `token_nll` of pairs, each of which counts as two branches."""
    logps_P = pairs.chosen.policy_logps_B.contiguous()
    return _per_branch_nll(pairs.chosen, logps_P, 2 * len(logps_P))


def _per_branch_nll(chosen: BranchLogps, chosen_logps_B: Tensor, branches: int) -> Tensor:
    per_branch = chosen.chosen_tokens_per_branch
    if per_branch is None:
        return nll(chosen)
    total = chosen_logps_B.sum()
    return -total / (branches * per_branch) if per_branch else -total
