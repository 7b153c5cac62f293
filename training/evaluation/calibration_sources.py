"""Labelled episodes to calibrate judges on: played by scripted experts, or by people (CaSiNo)."""

from __future__ import annotations

from pathlib import Path

from agents.scripted import ScriptedExperts
from engines.batcher import Batcher
from engines.event_loop import run_to_end
from envs.scenarios.casino import load_casino
from envs.scenarios.human import HumanData
from judges.calibration.data import Source, casino_labels, computed_labels
from judges.verifiable import VerifiableJudge
from training.config import CalibrationConfig, RunConfig
from training.play.rollout import EpisodePlan, episode_seed, play_wave
from training.storage.hub import fetch, is_on_hub

_CASINO_FILES = {"train": "casino_train.json", "valid": "casino_valid.json"}


def calibration_sources(config: RunConfig) -> list[Source]:
    """Play or load the labelled episodes that the options ask for.

    Raises:
        ConfigError: files cannot be downloaded from the hub.
        DataError: a file does not have CaSiNo's format.
    """
    sources = []
    if config.calibration.episodes:
        sources.append(expert_episodes(config))
    if config.calibration.casino:
        sources.append(casino_dialogues(config.calibration))
    return sources


def expert_episodes(config: RunConfig) -> Source:
    """Let scripted experts of mixed skill play each other in the configured families."""
    split, experts = config.evaluation.split, ScriptedExperts()
    plans = [
        EpisodePlan(
            id=f"calibrate/{scenario.id}",
            scenario=scenario,
            players=(experts, experts),
            seed=episode_seed(config.seed, "calibrate", scenario.id),
        )
        for scenario in config.env.draw(split, config.calibration.episodes)
    ]
    played = play_wave(plans, config.env.rules, VerifiableJudge(), Batcher(), run=run_to_end)
    return computed_labels(
        [one.episode for one in played],
        about=f"{', '.join(config.env.names)}, split {split}, seed {config.seed}",
    )


def casino_dialogues(options: CalibrationConfig) -> Source:
    """Load CaSiNo's dialogues of a split."""
    names = casino_files(options.split)
    folder = fetch(options.casino, names) if is_on_hub(options.casino) else Path(options.casino)
    read = [load_casino(folder / name) for name in names]
    episodes = tuple(episode for data in read for episode in data.episodes)
    left_out = tuple(remark for data in read for remark in data.left_out)
    about = f"dialogues between people, split {options.split}"
    if options.dialogues and options.dialogues < len(episodes):
        episodes = episodes[: options.dialogues]
        about += f", the first {options.dialogues}"
    return casino_labels(HumanData(episodes, left_out), about=about)


def casino_files(split: str) -> list[str]:
    """Names of the CaSiNo files that a split is in."""
    return [name for part, name in _CASINO_FILES.items() if split in (part, "all")]
