"""INPO: regression on win rates, held to an anchor that never moves."""

from __future__ import annotations

from envs.options import Positive, Share
from training.methods.objectives.base import objective
from training.methods.objectives.common import branch_metrics
from training.methods.objectives.types import AnchorLogps, Groups, ObjectiveOutput


@objective("inpo", reads="groups", measures="anchor")
def inpo(groups: Groups[AnchorLogps], *, eta: Positive, anchor_weight: Share) -> ObjectiveOutput:
    """Iterative Nash policy optimisation (arXiv 2407.00617), over all branches of a group.

        r = log policy - (1 - c) log reference - c log anchor - eta * win_prob
        (r - mean of r over the group)^2 / 2, mean over branches

    The reference is the iteration's start and the anchor the first policy. With c = 0 it is SPPO
    with the partition function fitted instead of approximated, whose iterates circle around a
    mixed equilibrium; c > 0 makes the last one converge, to an equilibrium that is pulled towards
    the anchor. Centring a pair leaves half the difference of its sides, so that on pairs this is
    the paper's loss times 1/8, with eta = 1 / (2 eta of the paper) and c = tau / (eta of the
    paper). Nash-MD (arXiv 2312.00886) takes the same step, but plays against the mixture of
    policy and anchor instead of against the policy.

    Args:
        groups: of two branches or more; a branch alone in its group has loss 0.
        eta: step size in nats: the target difference of always winning and always losing.
        anchor_weight: c, 0 to 1; the smaller, the nearer the equilibrium and the slower.
    """
    branches = groups.branches
    anchor_B = anchor_weight * branches.anchor_logps_B
    held_B = (1 - anchor_weight) * branches.reference_logps_B + anchor_B
    residual_B = branches.policy_logps_B - held_B - eta * branches.win_prob_B
    centred_B = residual_B - groups.mean_B(residual_B)
    return ObjectiveOutput(loss=centred_B.square().mean() / 2, metrics=branch_metrics(branches))
