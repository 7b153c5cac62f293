"""Direct preference optimisation: the sigmoid of a pair's margin."""

from __future__ import annotations

from torch.nn.functional import logsigmoid

from training.objectives.base import BranchLogps, ObjectiveOutput, pair_metrics, pairs


def dpo(branches: BranchLogps, *, beta: float) -> ObjectiveOutput:
    """Direct preference optimisation (arXiv 2305.18290, eq. 7), on whatever carries loss.

        -log sigmoid(beta * (log-ratio of chosen - log-ratio of rejected)), mean over pairs

    It is called DPO when one turn carries loss; which tokens do is the pairing's choice.

    Args:
        branches: pairs, laid out chosen, rejected, chosen, rejected, ...
        beta: how strongly the policy is held to the reference, per nat; above 0, usually 0.1.
    """
    both = pairs(branches)
    loss = -logsigmoid(beta * both.margin_P).mean()
    return ObjectiveOutput(loss=loss, metrics=pair_metrics(both))
