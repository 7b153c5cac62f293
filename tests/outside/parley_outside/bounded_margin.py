"""An objective that pushes the margin of a pair up, and has done with it when it is large."""

from __future__ import annotations

import torch

from envs.options import Positive
from training.methods.objectives import ObjectiveOutput, Pairs, objective, over_pairs


@objective("bounded_margin")
def bounded_margin(pairs: Pairs, *, scale: Positive = 1.0) -> ObjectiveOutput:
    """Minus tanh(margin / scale), mean over pairs.

    Args:
        pairs: chosen and rejected branches.
        scale: nats of margin that count as large.
    """
    return over_pairs(pairs, -torch.tanh(pairs.margin_P / scale))
