"""DMPO, multi-turn DPO: a pair's margin in which later turns weigh less."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from envs.errors import TrainingError
from envs.options import Positive
from training.methods.lazy_torch import logsigmoid, torch
from training.methods.objectives.base import objective
from training.methods.objectives.common import over_pairs
from training.methods.objectives.types import ObjectiveOutput, Pairs, TurnLogps

if TYPE_CHECKING:
    from torch import Tensor


@objective("dmpo", measures="turns")
def dmpo(
    pairs: Pairs[TurnLogps], *, beta: Positive, gamma: Positive, discounted: bool
) -> ObjectiveOutput:
    """Direct multi-turn preference optimisation (arXiv 2406.14868).

        -log sigmoid(beta * (sum_t phi(t, T) u_t of chosen - the same of rejected)), mean over pairs
        phi(t, T) = gamma^t (1 - gamma^(T - t)) / (1 - gamma^T)

    with u_t the log-ratio of own turn t, counted from 0 at the first one that carries loss, and T
    their number, which may differ between the sides: phi(., T) makes up for it.

    Args:
        pairs: chosen and rejected branches with log-probs by turn.
        beta: as in `dpo`.
        gamma: discount of later turns, above 0 and at most 1; usually 0.7; 1
            gives the limit phi = (T - t) / T.
        discounted: False drops gamma^t from phi, as the public code of SDPO's DMPO baseline does.
    """
    if not 0 < gamma <= 1:
        raise TrainingError(f"dmpo got gamma {gamma:g}, expected above 0 and at most 1; set it so.")
    chosen_P = _discounted_log_ratio(pairs.chosen, gamma, discounted)
    rejected_P = _discounted_log_ratio(pairs.rejected, gamma, discounted)
    return over_pairs(pairs, -logsigmoid(beta * (chosen_P - rejected_P)))


def _discounted_log_ratio(branches: TurnLogps, gamma: float, discounted: bool) -> Tensor:
    policy_BT, reference_BT = branches.policy_turn_logps_BT, branches.reference_turn_logps_BT
    weight_BT = turn_weights(branches.turns_B, policy_BT.shape[1], gamma, discounted=discounted)
    log_ratio_BT = torch.where(weight_BT > 0, policy_BT - reference_BT, 0)
    return (weight_BT.to(log_ratio_BT) * log_ratio_BT).sum(dim=1)


def turn_weights(turns_B: Tensor, longest: int, gamma: float, *, discounted: bool) -> Tensor:
    """Compute phi(t, T) of `dmpo` for all turns, 0 behind the last; float64, (B, longest)."""
    turn_T = torch.arange(longest, device=turns_B.device, dtype=torch.float64)
    left_BT = (turns_B[:, None] - turn_T).clamp(min=0)
    turns_B1 = turns_B[:, None].clamp(min=1).to(torch.float64)
    if gamma == 1:
        return left_BT / turns_B1
    # expm1 keeps 1 - gamma^n exact where gamma is near 1
    share_BT = torch.expm1(left_BT * math.log(gamma)) / torch.expm1(turns_B1 * math.log(gamma))
    return share_BT * gamma**turn_T if discounted else share_BT
