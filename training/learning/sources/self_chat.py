"""A model that talks to itself as a source of demonstrations."""

from __future__ import annotations

from dataclasses import dataclass

from engines.models import ModelConfig
from envs.options import NonNegative, Share
from training.learning.sources.base import Demonstrations, Stage0, some
from training.learning.sources.limits import Goal, Limits, from_episodes
from training.methods.records import PlayedEpisode
from training.methods.sources import source
from training.play.rollout import EpisodePlan, episode_seed, play_wave


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfChatOptions:
    """A model that talks to itself.

    Attributes:
        model: who plays both seats.
        min_goal: a seat that reached less is left out, by the run's judge, 0 to 10.
        max_invalid_share: a seat of whose turns a larger share was no valid action is left out;
            invalid turns themselves are never learned from.
        min_words: a seat that said fewer words in a spoken turn, on average, is left out.
    """

    model: ModelConfig
    min_goal: Goal = 7.0
    max_invalid_share: Share = 0.0
    min_words: NonNegative = 3.0


@source("self_chat", plays=True)
def self_chat(options: SelfChatOptions, stage: Stage0) -> Demonstrations:
    """Two copies of a model behind an API that talk in the run's training scenarios."""
    config, played = stage.config, list[PlayedEpisode]()
    scenarios = config.env.draw("train", config.cloning.dialogues)
    with stage.open_talk(options.model) as talk:
        players = (talk.player,) * 2
        plans = [
            EpisodePlan(f"demo-{n}", scenario, players, episode_seed(config.seed, "demo", n))
            for n, scenario in enumerate(scenarios)
        ]
        for start in range(0, len(plans), config.env.wave):
            wave = plans[start : start + config.env.wave]
            rules = config.env.rules
            played += play_wave(wave, rules, talk.judge, talk.batcher, run=talk.run)
            stage.progress(len(played), len(plans))
    limits = Limits(options.min_goal, options.max_invalid_share, options.min_words)
    found = from_episodes(played, limits, stage)
    return some(found, f"{len(played)} dialogues of {options.model.name} with itself", stage)
