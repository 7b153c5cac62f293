"""Scripted experts as a source of demonstrations."""

from __future__ import annotations

from envs.registry import NoOptions
from envs.scenarios.difficulty import Difficulty
from training.learning.demonstrations import demonstrations
from training.learning.sources.base import Demonstrations, Stage0
from training.methods.sources import source


@source("experts", needs_task=True, selects=False)
def experts(options: NoOptions, stage: Stage0) -> Demonstrations:
    """Scripted experts of mixed skill, which play families whose goals a program checks."""
    config = stage.config
    rows = demonstrations(
        config.env.checkable,  # experts play no others
        config.cloning,
        config.env.rules,
        stage.template,
        stage.style,
        seed=config.seed,
        difficulty=Difficulty(config.env.difficulty),
    )
    count = config.cloning.dialogues
    return Demonstrations(rows, count, count, 2 * count)
