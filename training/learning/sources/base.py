"""What the sources of demonstrations share: what they are given, and what they find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from random import Random

from agents.base import Player
from agents.chat_template import ChatTemplate
from agents.prompts import STYLES, PromptStyle
from engines.batcher import Batcher
from engines.models import ModelConfig
from envs.errors import ConfigError
from envs.scenarios.difficulty import Difficulty
from judges.base import Judge
from training.config import RunConfig
from training.learning.demonstrations import Row, drill_rows
from training.methods.records import PlayedEpisode
from training.play.rollout import RunLoop
from training.play.waves import Progress


@dataclass(frozen=True, slots=True)
class Talk:
    """A model that plays both seats, and what its dialogues need.

    Attributes:
        run: runs a wave to its end.
    """

    player: Player
    judge: Judge
    batcher: Batcher
    run: RunLoop[list[PlayedEpisode]]


OpenTalk = Callable[[ModelConfig], AbstractContextManager[Talk]]
"""Seats a model behind an API, whose calls count towards the run's budget."""


@dataclass(frozen=True, slots=True)
class Stage0:
    """What a source of demonstrations is given.

    Attributes:
        template: writes dialogues as the policy's tokens.
        open_talk: for sources that ask a model.
        progress: is told how many dialogues have been played.
    """

    config: RunConfig
    template: ChatTemplate
    open_talk: OpenTalk
    progress: Progress

    @property
    def style(self) -> PromptStyle:
        """The policy's."""
        return STYLES[self.config.policy.prompt_style]


@dataclass(slots=True)
class Demonstrations:
    """What a source has found: rows to learn from, and how many seats of dialogues were left out.

    Attributes:
        kept: dialogues, each seen from one seat.
        dropped: the same by the reason why they were left out.
    """

    rows: list[Row] = field(default_factory=list)
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def describe(self) -> str:
        """The counts in one sentence."""
        reasons = "; ".join(f"{count} {reason}" for reason, count in sorted(self.dropped.items()))
        left_out = f" Left out: {reasons}." if reasons else ""
        return f"Stage 0 learns from {self.kept} seats of dialogues.{left_out}"


def some(found: Demonstrations, where: str, stage: Stage0) -> Demonstrations:
    """With drills, in random order.

    Raises:
        ConfigError: there is nothing to learn from.
    """
    if not found.rows:
        raise ConfigError(
            f"Stage 0 has nothing to learn from: of {where}, none was kept. {found.describe()} "
            "Choose another model or file, lower demonstrations.min_goal or another of its limits "
            "(--help demonstrations), or leave stage 0 out by cloning.dialogues=0."
        )
    config = stage.config
    rng = Random(f"drills/{config.seed}")
    found.rows += drill_rows(
        config.env.checkable if config.cloning.drills else {},
        config.cloning.drills,
        stage.template,
        stage.style,
        rng,
        Difficulty(config.env.difficulty),
    )
    rng.shuffle(found.rows)
    return found
