"""What the sources of demonstrations share: what they are given, and what they find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agents.base import Player
from agents.chat_template import ChatTemplate
from agents.prompts import PromptStyle
from engines.models import ModelConfig
from training.config import RunConfig
from training.config.play import CheckpointConfig
from training.learning.demonstrations import Row
from training.methods.records import PlayedEpisode
from training.play.rollout import EpisodePlan
from training.play.waves import Progress

DEMONSTRATE = "demonstrate"
"""The phase of a run's store that holds what its model demonstrated."""

SURPLUS = "were more than cloning.dialogues"
HELD_OUT = "were of held-out scenarios"
_NO_FAULT = (SURPLUS, HELD_OUT)
"""Why seats are left out that are as good as others."""


class Play(Protocol):
    """Plays episodes to their end."""

    def __call__(self, plans: Sequence[EpisodePlan], progress: Progress) -> list[PlayedEpisode]:
        """Play and judge what is not in the run's store yet; all of them, in the given order."""
        ...


@dataclass(frozen=True, slots=True)
class Talk:
    """A model that plays both seats.

    Attributes:
        folder: of the run, which keeps what is played.
    """

    player: Player
    play: Play
    folder: Path


OpenTalk = Callable[[ModelConfig | CheckpointConfig], AbstractContextManager[Talk]]
"""Seats a model: one behind an API, whose calls count towards the run's budget, or one on disk."""


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
        return self.config.policy.style


@dataclass(slots=True)
class Demonstrations:
    """What a source has found: rows to learn from, and what was left out.

    Attributes:
        read: dialogues that there were.
        dialogues: those of which a seat was kept.
        kept: seats that were kept; each is a row.
        dropped: seats that were left out, by the reason.
    """

    rows: list[Row] = field(default_factory=list)
    read: int = 0
    dialogues: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def reasons(self) -> str:
        """Why seats were left out, with their number; "" for none."""
        return "; ".join(f"{count} {reason}" for reason, count in sorted(self.dropped.items()))

    def describe(self) -> str:
        """The counts in a sentence or two."""
        left_out = f" Left out: {self.reasons}." if self.reasons else ""
        return (
            f"Stage 0 learns from {self.kept} seats of {self.dialogues} dialogues, of "
            f"{self.read}.{left_out}"
        )

    def alarm(self) -> str | None:
        """A sentence where more than half of the seats were left out for a fault; else None."""
        faulty = sum(n for reason, n in self.dropped.items() if reason not in _NO_FAULT)
        if faulty <= self.kept:
            return None
        return (
            f"{faulty} of {faulty + self.kept} demonstrated seats were left out: {self.reasons}. "
            "The clone learns from few dialogues, and perhaps from lucky ones; look at them, and "
            "choose another demonstrator or other limits (--help demonstrations)."
        )
