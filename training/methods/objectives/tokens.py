"""Token-level DPO: the margin less what the policy has drifted on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envs.options import NonNegative, Positive
from training.methods.lazy_torch import logsigmoid
from training.methods.objectives.base import BranchLogps, ObjectiveOutput, Pairs, needed, objective
from training.methods.objectives.common import over_pairs

if TYPE_CHECKING:
    from torch import Tensor


@objective("tdpo1", measures="kl")
def tdpo1(pairs: Pairs, *, beta: Positive) -> ObjectiveOutput:
    """Token-level DPO, first form (arXiv 2404.11999).

        -log sigmoid(beta * (margin - (KL of rejected - KL of chosen))), mean over pairs

    KL is the sequential one, sum over loss tokens of KL(reference || policy) of the next token.

    Args:
        pairs: pairs, with `kl_B`.
        beta: as in `dpo`.
    """
    drift_P = _kl(pairs.rejected) - _kl(pairs.chosen)
    return over_pairs(pairs, -logsigmoid(beta * (pairs.margin_P - drift_P)))


@objective("tdpo2", measures="kl")
def tdpo2(pairs: Pairs, *, beta: Positive, alpha: NonNegative) -> ObjectiveOutput:
    """Token-level DPO, second form (arXiv 2404.11999).

        -log sigmoid(beta * (margin - alpha * (KL of rejected - stop-gradient(KL of chosen))))

    Args:
        pairs: pairs, with `kl_B`.
        beta: as in `dpo`.
        alpha: 0 is DPO, usually 0.5.
    """
    drift_P = _kl(pairs.rejected) - _kl(pairs.chosen).detach()
    return over_pairs(pairs, -logsigmoid(beta * (pairs.margin_P - alpha * drift_P)))


def _kl(branches: BranchLogps) -> Tensor:
    return needed(branches.kl_B, "kl_B", "tdpo")
