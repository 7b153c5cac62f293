"""Objectives by name: pure functions of branch log-probs, options as keyword arguments."""

from __future__ import annotations

from collections.abc import Callable

from training.objectives.base import ObjectiveOutput
from training.objectives.dpo import dpo
from training.objectives.sdpo import sdpo
from training.objectives.sppo import sppo

OBJECTIVES: dict[str, Callable[..., ObjectiveOutput]] = {
    "dpo": dpo,
    "sdpo": sdpo,
    "sppo": sppo,
}
