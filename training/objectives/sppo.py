"""Self-play preference optimisation: log-ratios regressed on win rates."""

from __future__ import annotations

from torch import Tensor

from training.objectives.base import BranchLogps, ObjectiveOutput, is_chosen


def sppo(branches: BranchLogps, *, eta: float) -> ObjectiveOutput:
    """Self-play preference optimisation, squared form (arXiv 2405.00675, eq. 4.4).

        (log-ratio - eta * (win_prob - 1/2))^2 / 2, mean over branches

    Args:
        branches: all branches of any number of groups; pairs are groups of two.
        eta: step size in nats; the target log-ratio is eta * (win_prob - 1/2).
    """
    residual_B = branches.log_ratio_B - eta * (branches.win_prob_B - 0.5)
    return ObjectiveOutput(loss=residual_B.square().mean() / 2, metrics=_metrics(branches))


def _metrics(branches: BranchLogps) -> dict[str, float]:
    """Means over winners and over losers, as `pair_metrics` gives them over pairs.

    `accuracy` is the share of decided branches (win_prob other than 1/2) whose log-ratio has the
    sign of win_prob - 1/2, zeros counted as 1/2. What has no branches to speak of is left out.
    """
    log_ratio_B = branches.log_ratio_B.detach()
    chosen_B, rejected_B = is_chosen(branches), branches.win_prob_B < 0.5
    metrics = _mean("chosen_log_ratio", log_ratio_B[chosen_B])
    metrics |= _mean("rejected_log_ratio", log_ratio_B[rejected_B])
    if len(metrics) == 2:
        metrics["margin"] = metrics["chosen_log_ratio"] - metrics["rejected_log_ratio"]
    decided_B = chosen_B | rejected_B
    agreement_B = log_ratio_B.sign() * (branches.win_prob_B - 0.5).sign()
    return metrics | _mean("accuracy", (agreement_B[decided_B] + 1) / 2)


def _mean(name: str, values: Tensor) -> dict[str, float]:
    return {name: float(values.mean())} if len(values) else {}
