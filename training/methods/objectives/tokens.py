"""TDPO, token-level DPO: the margin less how far the policy drifted from the reference."""

from __future__ import annotations

from envs.options import NonNegative, Positive
from training.methods.lazy_torch import logsigmoid
from training.methods.objectives.base import objective
from training.methods.objectives.common import over_pairs
from training.methods.objectives.types import KlLogps, ObjectiveOutput, Pairs


@objective("tdpo1", measures="kl")
def tdpo1(pairs: Pairs[KlLogps], *, beta: Positive) -> ObjectiveOutput:
    """Token-level DPO, first form (arXiv 2404.11999).

        -log sigmoid(beta * (margin - (KL of rejected - KL of chosen))), mean over pairs

    KL is the sequential one, sum over loss tokens of KL(reference || policy) of the next token.

    Args:
        pairs: chosen and rejected branches with their KL.
        beta: as in `dpo`.
    """
    drift_P = pairs.rejected.kl_B - pairs.chosen.kl_B
    return over_pairs(pairs, -logsigmoid(beta * (pairs.margin_P - drift_P)))


@objective("tdpo2", measures="kl")
def tdpo2(pairs: Pairs[KlLogps], *, beta: Positive, alpha: NonNegative) -> ObjectiveOutput:
    """Token-level DPO, second form (arXiv 2404.11999).

        -log sigmoid(beta * (margin - alpha * (KL of rejected - stop-gradient(KL of chosen))))

    Args:
        pairs: chosen and rejected branches with their KL.
        beta: as in `dpo`.
        alpha: 0 is DPO, usually 0.5.
    """
    drift_P = pairs.rejected.kl_B - pairs.chosen.kl_B.detach()
    return over_pairs(pairs, -logsigmoid(beta * (pairs.margin_P - alpha * drift_P)))
