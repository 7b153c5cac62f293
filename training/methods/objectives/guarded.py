"""DPO with a term inside the sigmoid: DPOP against falling likelihood, R-DPO against length."""

from __future__ import annotations

from envs.options import NonNegative, Positive
from training.methods.lazy_torch import logsigmoid
from training.methods.objectives.base import objective
from training.methods.objectives.common import over_pairs
from training.methods.objectives.types import ObjectiveOutput, Pairs


@objective("dpop")
def dpop(pairs: Pairs, *, beta: Positive, penalty: NonNegative) -> ObjectiveOutput:
    """DPO-positive: chosen may not become less probable (Smaug, arXiv 2402.13228).

        -log sigmoid(beta * (margin - penalty * max(0, -log-ratio of chosen))), mean over pairs

    The penalty stands inside beta; the paper's first version has the bracket elsewhere.

    Args:
        pairs: chosen and rejected branches.
        beta: as in `dpo`.
        penalty: the paper's lambda; 0 is DPO, usually 50 on whole answers.
    """
    fall_P = (-pairs.chosen.log_ratio_B).clamp(min=0)
    return over_pairs(pairs, -logsigmoid(beta * (pairs.margin_P - penalty * fall_P)))


@objective("r_dpo")
def r_dpo(pairs: Pairs, *, beta: Positive, alpha: NonNegative) -> ObjectiveOutput:
    """Length-regularised DPO (arXiv 2403.19159).

        -log sigmoid(beta * margin + alpha * (tokens of chosen - tokens of rejected))

    The sign is plus: where chosen is longer, length explains part of the preference already, and
    the policy has less to learn from the pair.

    Args:
        pairs: chosen and rejected branches.
        beta: as in `dpo`.
        alpha: per token; 0 is DPO, usually 0.05.
    """
    longer_P = pairs.chosen.loss_tokens_B - pairs.rejected.loss_tokens_B
    return over_pairs(pairs, -logsigmoid(beta * pairs.margin_P + alpha * longer_P))
