"""A model that talks to itself as a source of demonstrations: behind an API, or loaded here."""

from __future__ import annotations

from dataclasses import dataclass

from engines.models import ModelConfig
from training.config.play import CheckpointConfig
from training.learning.sources.base import Demonstrations, Stage0
from training.learning.sources.limits import Limits, checked, dialogue_of, select
from training.methods.sources import source
from training.play.rollout import EpisodePlan, episode_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfChatOptions(Limits):
    """A model behind an API that talks to itself.

    Attributes:
        model: who plays both seats.
    """

    model: ModelConfig


@source("self_chat", plays=True)
def self_chat(options: SelfChatOptions, stage: Stage0) -> Demonstrations:
    """Two copies of a model behind an API that talk in the run's training scenarios."""
    return _talk(options.model, options, stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfChatCheckpointOptions(Limits):
    """Another model, loaded here, that talks to itself.

    Attributes:
        checkpoint: who plays both seats.
    """

    checkpoint: CheckpointConfig


@source("self_chat_checkpoint", plays=True)
def self_chat_checkpoint(options: SelfChatCheckpointOptions, stage: Stage0) -> Demonstrations:
    """Two copies of a model that is loaded here and talks in the run's training scenarios."""
    return _talk(options.checkpoint, options, stage)


def _talk(model: ModelConfig | CheckpointConfig, limits: Limits, stage: Stage0) -> Demonstrations:
    config = stage.config
    scenarios = config.env.draw("train", config.cloning.dialogues)
    with stage.open_talk(model) as talk:
        plans = [
            EpisodePlan(str(n), scenario, (talk.player,) * 2, episode_seed(config.seed, "demo", n))
            for n, scenario in enumerate(scenarios)
        ]
        played = talk.play(plans, stage.progress)
        folder = talk.folder
    found = select(map(dialogue_of, played), limits, stage)
    where = (
        f"{len(played)} dialogues of {model.name} with itself (they are kept: a new run with "
        f"demonstrations=file demonstrations.path={folder} reads them with other limits)"
    )
    return checked(found, limits, where, stage)
