"""Objectives without a reference: SimPO, ORPO, CPO and SLiC-HF."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from envs.options import NonNegative, Positive
from training.methods.lazy_torch import logsigmoid, torch
from training.methods.objectives.base import objective
from training.methods.objectives.common import pair_metrics, pair_nll
from training.methods.objectives.types import BranchLogps, ObjectiveOutput, Pairs

if TYPE_CHECKING:
    from torch import Tensor


@objective("simpo", uses_reference=False)
def simpo(pairs: Pairs, *, beta: Positive, gamma: Positive) -> ObjectiveOutput:
    """Simple preference optimisation (arXiv 2405.14734).

        -log sigmoid(beta * (mean log-prob of chosen - of rejected) - gamma), mean over pairs

    Args:
        pairs: chosen and rejected branches; log-probs are taken per loss token.
        beta: 2 to 10, for means are small.
        gamma: target margin in units of beta * nats; 0.1 to 0.8 times beta.
    """
    logit_P = beta * (pairs.chosen.mean_logps_B - pairs.rejected.mean_logps_B) - gamma
    return ObjectiveOutput(loss=-logsigmoid(logit_P).mean(), metrics=pair_metrics(pairs))


@objective("cpo", uses_reference=False)
def cpo(pairs: Pairs, *, beta: Positive, nll_weight: NonNegative) -> ObjectiveOutput:
    """Contrastive preference optimisation (arXiv 2401.08417, eq. 3).

        -log sigmoid(beta * (log-prob of chosen - of rejected)) + nll_weight * nll of chosen

    The nll is per token over the batch. Where the update adds one of its own, pairs count.

    Args:
        pairs: chosen and rejected branches.
        beta: per nat, usually 0.1.
        nll_weight: 1 in the paper.
    """
    logit_P = beta * (pairs.chosen.policy_logps_B - pairs.rejected.policy_logps_B)
    loss = -logsigmoid(logit_P).mean() + nll_weight * pair_nll(pairs)
    return ObjectiveOutput(loss=loss, metrics=pair_metrics(pairs))


@objective("slic", uses_reference=False)
def slic(pairs: Pairs, *, delta: NonNegative, nll_weight: NonNegative) -> ObjectiveOutput:
    """Sequence likelihood calibration, SLiC-HF (arXiv 2305.10425), chosen as its target.

        max(0, delta - log-prob of chosen + log-prob of rejected) + nll_weight * nll of chosen

    Args:
        pairs: chosen and rejected branches.
        delta: wanted difference of summed log-probs, nats; 1 in the paper.
        nll_weight: the paper's lambda; usually 0.1. Per token over the batch.
    """
    behind_P = delta - pairs.chosen.policy_logps_B + pairs.rejected.policy_logps_B
    loss = behind_P.clamp(min=0).mean() + nll_weight * pair_nll(pairs)
    return ObjectiveOutput(loss=loss, metrics=pair_metrics(pairs))


@objective("orpo", uses_reference=False)
def orpo(pairs: Pairs, *, beta: Positive) -> ObjectiveOutput:
    """Odds-ratio preference optimisation (arXiv 2403.07691, eq. 4 and 7).

        nll of chosen - beta * log sigmoid(log odds of chosen - log odds of rejected)

    with odds p / (1 - p) of p = exp(mean log-prob), mean over pairs; the nll is per token over the
    batch. It merges supervised fine-tuning and alignment.

    Args:
        pairs: chosen and rejected branches.
        beta: the paper's lambda, usually 0.1.
    """
    logit_P = _log_odds(pairs.chosen) - _log_odds(pairs.rejected)
    loss = pair_nll(pairs) - beta * logsigmoid(logit_P).mean()
    odds = float(logit_P.detach().mean())
    return ObjectiveOutput(loss=loss, metrics=pair_metrics(pairs) | {"log_odds_ratio": odds})


def _log_odds(branches: BranchLogps) -> Tensor:
    """log(p / (1 - p)); a certain branch counts as nearly certain, since its odds are infinite."""
    logps_B = branches.mean_logps_B
    logps_B = logps_B.clamp(max=-torch.finfo(logps_B.dtype).eps)
    return logps_B - log1mexp(logps_B)


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0, exact at both ends (Maechler 2012), gradients too."""
    near = x > -math.log(2)
    middle = torch.full_like(x, -math.log(2))
    # Each form sees harmless values where the other one counts, or 0 * inf would reach gradients.
    small = torch.log(-torch.expm1(torch.where(near, x, middle)))
    return torch.where(near, small, torch.log1p(-torch.exp(torch.where(near, middle, x))))
