"""Objectives: pure functions of log-probs that give a loss, with options as keyword arguments.

To add one, write a function in a file of this folder, or in a package of your own, and decorate it
with `@objective("name")`; docs/methods.md says what each is for.
"""

from __future__ import annotations

from training.methods.objectives.base import OBJECTIVES, make_objective, objective
from training.methods.objectives.common import branch_metrics, over_pairs
from training.methods.objectives.types import BranchLogps, Groups, ObjectiveOutput, Pairs

__all__ = [
    "OBJECTIVES",
    "BranchLogps",
    "Groups",
    "ObjectiveOutput",
    "Pairs",
    "branch_metrics",
    "make_objective",
    "objective",
    "over_pairs",
]
