"""Labelled episodes for the calibration of judges: played by scripted experts, or by people."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agents.scripted import ScriptedExperts
from engines.batcher import Batcher
from envs.scenarios.casino import load_casino
from envs.scenarios.human import HumanData
from judges.calibration.data import Source, casino_labels, computed_labels
from judges.verifiable import VerifiableJudge
from training.config import CalibrationConfig, RunConfig
from training.play.rollout import EpisodePlan, episode_seed, play_wave
from training.storage.hub import fetch, is_on_hub

_FILES = {"train": "casino_train.json", "valid": "casino_valid.json"}


def sources(config: RunConfig) -> list[Source]:
    """What the judge is measured against, in the order in which it is shown.

    Raises:
        ConfigError: files on the hub cannot be fetched.
        DataError: a file is not as CaSiNo's are.
    """
    found = []
    if config.calibration.episodes:
        found.append(experts_at_play(config))
    if config.calibration.casino:
        found.append(casino(config.calibration))
    return found


def experts_at_play(config: RunConfig) -> Source:
    """Episodes of the families between scripted experts of mixed skill."""
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
    played = play_wave(plans, config.env.rules, VerifiableJudge(), Batcher(), run=asyncio.run)
    return computed_labels(
        [one.episode for one in played],
        about=f"{', '.join(config.env.names)}, split {split}, seed {config.seed}",
    )


def casino(wanted: CalibrationConfig) -> Source:
    """CaSiNo's dialogues of a split."""
    names = files_of(wanted.split)
    folder = fetch(wanted.casino, names) if is_on_hub(wanted.casino) else Path(wanted.casino)
    read = [load_casino(folder / name) for name in names]
    episodes = tuple(episode for data in read for episode in data.episodes)
    left_out = tuple(remark for data in read for remark in data.left_out)
    about = f"dialogues between people, split {wanted.split}"
    if wanted.dialogues and wanted.dialogues < len(episodes):
        episodes = episodes[: wanted.dialogues]
        about += f", the first {wanted.dialogues}"
    return casino_labels(HumanData(episodes, left_out), about=about)


def files_of(split: str) -> list[str]:
    """The names of CaSiNo's files that hold a split."""
    return [name for part, name in _FILES.items() if split in (part, "all")]
