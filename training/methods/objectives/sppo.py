"""SPPO, self-play preference optimisation: log-ratios regressed on win rates."""

from __future__ import annotations

from envs.options import Positive
from training.methods.objectives.base import objective
from training.methods.objectives.common import branch_metrics
from training.methods.objectives.types import BranchLogps, ObjectiveOutput


@objective("sppo", reads="branches")
def sppo(branches: BranchLogps, *, eta: Positive) -> ObjectiveOutput:
    """Self-play preference optimisation, squared form (arXiv 2405.00675, eq. 4.4).

        (log-ratio - eta * (win_prob - 1/2))^2 / 2, mean over branches

    Args:
        branches: all branches of any number of groups; pairs are groups of two.
        eta: step size in nats; the target log-ratio is eta * (win_prob - 1/2).
    """
    residual_B = branches.log_ratio_B - eta * (branches.win_prob_B - 0.5)
    return ObjectiveOutput(loss=residual_B.square().mean() / 2, metrics=branch_metrics(branches))


@objective("sppo_pair", reads="rated_pairs")
def sppo_pair(branches: BranchLogps, *, eta: Positive) -> ObjectiveOutput:
    """SPPO over the best and the worst branch of each group (arXiv 2405.00675, eq. 4.7).

        [(chosen's log-ratio - eta * (its win_prob - 1/2))^2 + (the same of rejected)] / 2,
        mean over pairs

    Twice `sppo`, which takes the mean of both sides where the paper takes the sum.

    Args:
        branches: two of each group; their win rates may be those among more branches.
        eta: as in `sppo`.
    """
    single = sppo(branches, eta=eta)
    return ObjectiveOutput(loss=2 * single.loss, metrics=single.metrics)
