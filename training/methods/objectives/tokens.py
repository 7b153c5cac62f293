"""Token-level DPO: the margin less what the policy has drifted on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envs.options import NonNegative, Positive
from training.methods.lazy_torch import logsigmoid
from training.methods.objectives.base import BranchLogps, ObjectiveOutput, needed, objective, pairs
from training.methods.objectives.common import over_pairs

if TYPE_CHECKING:
    from torch import Tensor


@objective("tdpo1", measures="kl")
def tdpo1(branches: BranchLogps, *, beta: Positive) -> ObjectiveOutput:
    """Token-level DPO, first form (arXiv 2404.11999).

        -log sigmoid(beta * (margin - (KL of rejected - KL of chosen))), mean over pairs

    KL is the sequential one, sum over loss tokens of KL(reference || policy) of the next token.

    Args:
        branches: pairs, with `kl_B`.
        beta: as in `dpo`.
    """
    both = pairs(branches)
    drift_P = _kl(both.rejected) - _kl(both.chosen)
    return over_pairs(both, -logsigmoid(beta * (both.margin_P - drift_P)))


@objective("tdpo2", measures="kl")
def tdpo2(branches: BranchLogps, *, beta: Positive, alpha: NonNegative) -> ObjectiveOutput:
    """Token-level DPO, second form (arXiv 2404.11999).

        -log sigmoid(beta * (margin - alpha * (KL of rejected - stop-gradient(KL of chosen))))

    Args:
        branches: pairs, with `kl_B`.
        beta: as in `dpo`.
        alpha: 0 is DPO, usually 0.5.
    """
    both = pairs(branches)
    drift_P = _kl(both.rejected) - _kl(both.chosen).detach()
    return over_pairs(both, -logsigmoid(beta * (both.margin_P - alpha * drift_P)))


def _kl(branches: BranchLogps) -> Tensor:
    return needed(branches.kl_B, "kl_B", "tdpo")
