"""Which seats of finished dialogues are learned from, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from envs.options import Range
from envs.scenarios import scenario_of
from training.config.play import SCENES
from training.learning.demonstrations import dialogue_rows
from training.learning.sources.base import Demonstrations, Stage0
from training.methods.records import PlayedEpisode
from training.methods.values import scores_of

Goal = Annotated[float, Range(at_least=0, at_most=10)]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a seat must have done to be learned from; see `SelfChatOptions`."""

    min_goal: float
    max_invalid_share: float = 1.0
    min_words: float = 0.0

    def fault(self, played: PlayedEpisode, seat: int) -> str | None:
        """Why a seat of an episode is left out; None for one to learn from."""
        if not played.judgement.is_scored:
            return "were not scored"
        own = [turn.action for turn in played.episode.turns if turn.seat == seat]
        if not own:
            return "had no turn"
        if scores_of(played, seat).goal < self.min_goal:
            return f"had a goal below {self.min_goal:g}"
        if sum(action.invalid is not None for action in own) > self.max_invalid_share * len(own):
            return "had too many invalid turns"
        said = [len(action.speech.split()) for action in own if action.speech]
        if sum(said) < self.min_words * max(1, len(said)):
            return f"said fewer than {self.min_words:g} words a turn"
        return None


def from_episodes(
    episodes: Sequence[PlayedEpisode], limits: Limits, stage: Stage0
) -> Demonstrations:
    """The seats that keep within the limits, of dialogues in training scenarios."""
    found, taken, config = Demonstrations(), 0, stage.config
    for played in episodes:
        scenario = played.episode.scenario
        if scenario.split != "train":
            found.dropped["were of held-out scenarios"] += len(scenario.goals)
            continue
        faults = [limits.fault(played, seat) for seat in range(len(scenario.goals))]
        found.dropped.update(fault for fault in faults if fault is not None)
        seats = [seat for seat, fault in enumerate(faults) if fault is None]
        if not seats:
            continue
        if taken == config.cloning.dialogues:
            found.dropped["were more than cloning.dialogues"] += len(seats)
            continue
        taken += 1
        if scenario.family not in SCENES and scenario.task is None:  # a store keeps no tasks
            scenario = scenario_of(scenario.id)
        rows = dialogue_rows(
            scenario,
            played.episode.turns,
            config.env.max_turns,
            stage.template,
            stage.style,
            seats=seats,
            learns_invalid=False,
        )
        found.rows += rows
        found.kept += len(seats)
    return found
