"""Objectives: pure functions of branch log-probs, options as keyword arguments.

To add one, write a function in a file of this folder and decorate it with `@objective("name")`;
docs/methods.md says what each is for.
"""

from __future__ import annotations

from training.methods.objectives.base import OBJECTIVES, make_objective

__all__ = ["OBJECTIVES", "make_objective"]
