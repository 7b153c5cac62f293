"""beta-DPO: beta follows the batch's margin, and outlying pairs are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from envs.options import NonNegative, Positive, Range, Share
from training.methods.lazy_torch import logsigmoid
from training.methods.objectives.base import objective
from training.methods.objectives.common import over_pairs
from training.methods.objectives.types import ObjectiveOutput, Pairs, State

if TYPE_CHECKING:
    from torch import Tensor

Kept = Annotated[float, Range(above=0, at_most=1)]

_LEAST_BETA = 1e-3
_ROUNDING = 1e-5
"""How far a margin may differ from itself when it is computed again with gradients, relatively."""


def beta_dpo_state(
    pairs: Pairs,
    state: State,
    *,
    beta: Positive,
    alpha: NonNegative,
    momentum: Share,
    keep: Kept,
) -> State:
    """beta-DPO's running margin, and the beta and the filter that follow from it for this batch.

    The paper draws the pairs to keep with a probability that falls off as a Gaussian around the
    running margin. Here the most probable ones are kept, so the same batch gives the same loss.

    Args:
        pairs: those of the whole batch, over all ranks.
        state: the state of the batch before; the running margin starts at 0.
        beta: strength at the running margin, per nat; usually 0.1.
        alpha: by how much a nat of margin raises beta, relatively; 0.6 in the paper.
        momentum: weight of the batches before in the running margin; 0.9 in the paper.
        keep: share of pairs that is kept, above 0 and at most 1; 0.8 in the paper.

    Returns:
        `margin` M0, the running mean, nats; `beta` = beta (1 + alpha (mean kept margin - M0)), at
        least 0.001; `cutoff`, the largest distance from M0 that is kept, and `kept_share`.
    """
    margin_P = pairs.margin_P.detach()
    running = momentum * state.get("margin", 0.0) + (1 - momentum) * float(margin_P.mean())
    distance_P = _distance(margin_P, running)
    wanted = max(1, int(keep * len(margin_P)))
    cutoff = float(distance_P.sort().values[wanted - 1]) * (1 + _ROUNDING) + _ROUNDING
    kept_P = distance_P <= cutoff
    mean = float(margin_P[kept_P].mean())
    return {
        "margin": running,
        "beta": max(_LEAST_BETA, beta * (1 + alpha * (mean - running))),
        "cutoff": cutoff,
        "kept_share": float(kept_P.double().mean()),
    }


@objective("beta_dpo", state=beta_dpo_state)
def beta_dpo(pairs: Pairs, *, state: State) -> ObjectiveOutput:
    """DPO with dynamic beta (arXiv 2407.08639): -log sigmoid(beta' * margin).

    The mean is over the pairs that the filter keeps.

    Args:
        pairs: chosen and rejected branches.
        state: from `beta_dpo_state`.
    """
    kept_P = _distance(pairs.margin_P.detach(), state["margin"]) <= state["cutoff"]
    loss_P = -logsigmoid(state["beta"] * pairs.margin_P) * kept_P / state["kept_share"]
    return over_pairs(pairs, loss_P, beta=state["beta"], kept_share=state["kept_share"])


def _distance(margin_P: Tensor, running: float) -> Tensor:
    return (margin_P - running).abs()
