"""DPO, direct preference optimisation, and its variants for labels that may be wrong.

Methods that minimise `dpo` and differ in what is paired with what, or in what the reference is,
have no function of their own: online and iterative DPO, ETO, SPIN, Step-DPO, sDPO (stepwise),
Self-Rewarding. docs/methods.md says which pairing and schedule each of them takes.
"""

from __future__ import annotations

from typing import Annotated

from envs.errors import TrainingError
from envs.options import Positive, Range
from training.methods.lazy_torch import logsigmoid
from training.methods.objectives.base import objective
from training.methods.objectives.common import over_pairs, pair_metrics
from training.methods.objectives.types import ObjectiveOutput, Pairs

FlipProb = Annotated[float, Range(at_least=0, at_most=0.5)]


@objective("dpo")
def dpo(pairs: Pairs, *, beta: Positive) -> ObjectiveOutput:
    """Direct preference optimisation (arXiv 2305.18290, eq. 7), on whatever carries loss.

        -log sigmoid(beta * (log-ratio of chosen - log-ratio of rejected)), mean over pairs

    It is called DPO when one turn carries loss; which tokens do is the pairing's choice.

    Args:
        pairs: chosen and rejected branches.
        beta: how strongly the policy is held to the reference, per nat; above 0, usually 0.1.
    """
    loss = -logsigmoid(beta * pairs.margin_P).mean()
    return ObjectiveOutput(loss=loss, metrics=pair_metrics(pairs))


@objective("cdpo")
def cdpo(pairs: Pairs, *, beta: Positive, flip_prob: FlipProb) -> ObjectiveOutput:
    """Conservative DPO: label smoothing (Mitchell 2023, "A note on DPO with noisy preferences").

        -(1 - e) log sigmoid(beta * margin) - e log sigmoid(-beta * margin), mean over pairs

    Its minimum is a finite margin, log((1 - e) / e) / beta. Not `robust_dpo`, which is unbiased.

    Args:
        pairs: chosen and rejected branches.
        beta: as in `dpo`.
        flip_prob: e, probability that chosen and rejected were swapped; 0 to 1/2, usually 0.1.
    """
    logit_P = beta * pairs.margin_P
    kept_P, flipped_P = -logsigmoid(logit_P), -logsigmoid(-logit_P)
    return over_pairs(pairs, (1 - flip_prob) * kept_P + flip_prob * flipped_P)


@objective("robust_dpo")
def robust_dpo(pairs: Pairs, *, beta: Positive, flip_prob: FlipProb) -> ObjectiveOutput:
    """Robust DPO: in expectation over flipped labels, DPO's loss on clean ones (arXiv 2403.00409).

        [-(1 - e) log sigmoid(beta * margin) + e log sigmoid(-beta * margin)] / (1 - 2e)

    May be negative, and has no lower bound.

    Args:
        pairs: chosen and rejected branches.
        beta: as in `dpo`.
        flip_prob: e, probability that chosen and rejected were swapped; below 1/2, usually 0.1.
    """
    if not 0 <= flip_prob < 0.5:
        raise TrainingError(
            f"robust_dpo got flip_prob {flip_prob:g}, expected 0 or more and less than 1/2, where "
            "labels say nothing; lower it."
        )
    logit_P = beta * pairs.margin_P
    kept_P, flipped_P = -logsigmoid(logit_P), -logsigmoid(-logit_P)
    return over_pairs(
        pairs, ((1 - flip_prob) * kept_P - flip_prob * flipped_P) / (1 - 2 * flip_prob)
    )
