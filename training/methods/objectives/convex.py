"""GPO: convex functions of a pair's margin, with IPO and the hinge of RSO as members."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from envs.errors import TrainingError
from envs.options import OneOf, Positive
from training.methods.lazy_torch import logsigmoid, torch
from training.methods.objectives.base import objective
from training.methods.objectives.common import over_pairs
from training.methods.objectives.types import ObjectiveOutput, Pairs

if TYPE_CHECKING:
    from torch import Tensor

_STEEPEST = 20.0
"""Beyond this, the exponential goes on as its tangent: e^x of a lost pair would overflow."""


def _exponential(logit_P: Tensor) -> Tensor:
    within_P = (-logit_P).clamp(max=_STEEPEST)
    beyond_P = (-logit_P - _STEEPEST).clamp(min=0)
    return torch.exp(within_P) + math.exp(_STEEPEST) * beyond_P


CONVEX: dict[str, Callable[[Tensor], Tensor]] = {
    "logistic": lambda logit_P: -logsigmoid(logit_P),
    "hinge": lambda logit_P: (1 - logit_P).clamp(min=0),
    "squared": lambda logit_P: (1 - logit_P).square(),
    "exponential": _exponential,
    "truncated_quadratic": lambda logit_P: (1 - logit_P).clamp(min=0).square(),
}


Convex = Annotated[str, OneOf(lambda: CONVEX)]


@objective("gpo")
def gpo(pairs: Pairs, *, beta: Positive, convex: Convex) -> ObjectiveOutput:
    """Generalised preference optimisation (arXiv 2402.05749).

        f(beta * margin), mean over pairs

    The exponential is continued by its tangent below beta * margin = -20, where it would overflow.

    Args:
        pairs: chosen and rejected branches.
        beta: per nat; above 0.
        convex: f, a name of `CONVEX`; "logistic" is DPO, "squared" IPO with beta twice as large,
            "hinge" the loss of RSO.
    """
    if convex not in CONVEX:
        raise TrainingError(
            f"gpo got convex={convex!r}, expected one of {', '.join(CONVEX)}; choose one of them."
        )
    return over_pairs(pairs, CONVEX[convex](beta * pairs.margin_P))


@objective("hinge")
def hinge(pairs: Pairs, *, beta: Positive) -> ObjectiveOutput:
    """The hinge on the margin, "hinge-norm" of RSO (arXiv 2309.06657).

        max(0, 1 - beta * margin), mean over pairs

    RSO is this and a step before it: candidates are reject-sampled under a reward, then paired.
    """
    return gpo(pairs, beta=beta, convex="hinge")


@objective("ipo")
def ipo(pairs: Pairs, *, beta: Positive, per_token: bool) -> ObjectiveOutput:
    """Identity preference optimisation (arXiv 2310.12036, eq. 17; beta is its tau).

        (margin - 1 / (2 beta))^2, mean over pairs

    Args:
        pairs: chosen and rejected branches.
        beta: above 0; the target margin is 1 / (2 beta) nats.
        per_token: whether the log-ratios are means over each side's loss tokens (as its authors
            ran it, and TRL does) or sums (as the paper writes it). In a mean, tokens that both
            sides share do not cancel.
    """
    margin_P = pairs.margin_P
    if per_token:
        chosen_P = pairs.chosen.log_ratio_B / pairs.chosen.loss_tokens_B.clamp(min=1)
        margin_P = chosen_P - pairs.rejected.log_ratio_B / pairs.rejected.loss_tokens_B.clamp(min=1)
    return over_pairs(pairs, (margin_P - 1 / (2 * beta)).square())
