"""An objective that pushes the margin of a pair up, and has done with it when it is large."""

from __future__ import annotations

import torch

from envs.options import Positive
from training.methods.objectives.base import BranchLogps, ObjectiveOutput, objective, pairs
from training.methods.objectives.common import over_pairs


@objective("bounded_margin")
def bounded_margin(branches: BranchLogps, *, scale: Positive = 1.0) -> ObjectiveOutput:
    """Minus tanh(margin / scale), mean over pairs.

    Args:
        branches: pairs.
        scale: nats of margin that count as large.
    """
    both = pairs(branches)
    return over_pairs(both, -torch.tanh(both.margin_P / scale))
