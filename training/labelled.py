"""Labelled episodes for the calibration of judges: played by scripted experts, or by people."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agents.scripted import ScriptedExperts
from engines.rendezvous import Rendezvous
from envs.errors import ConfigError
from envs.scenarios.casino import load_casino
from envs.scenarios.human import HumanData
from judges.labels import Source, casino_labels, computed_labels
from judges.verifiable import VerifiableJudge
from training.config import CalibrationConfig, RunConfig
from training.launch.outlook import check_calls
from training.launch.preflight import check_output, check_packages, check_resume
from training.rollout import EpisodePlan, episode_seed, play_wave
from training.storage.hub import SCHEME, fetch, is_on_hub, read_address

_FILES = {"train": "casino_train.json", "valid": "casino_valid.json"}


def check_before_calibration(config: RunConfig) -> None:
    """Check what the calibration of a judge needs on this machine.

    Raises:
        ConfigError: nothing to measure against was named or is there, or nothing can be written.
    """
    check_packages()
    wanted = config.calibration
    if not wanted.episodes and not wanted.casino:
        raise ConfigError(
            "There is nothing to measure the judge against; set calibration.episodes above 0, or "
            "calibration.casino to a folder with CaSiNo's files."
        )
    if wanted.episodes and config.env.has_scenes:
        raise ConfigError(
            f"Scripted experts cannot play the scenes of {' and '.join(config.env.names)}; choose "
            "env=families, or set calibration.episodes=0."
        )
    if wanted.casino:
        _check_casino(wanted)
    check_calls(config)
    if config.resume is not None:
        check_resume(config.resume)
    check_output(config.output_root)


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
    played = play_wave(plans, config.env.rules, VerifiableJudge(), Rendezvous(), run=asyncio.run)
    return computed_labels(
        [one.episode for one in played],
        about=f"{', '.join(config.env.names)}, split {split}, seed {config.seed}",
    )


def casino(wanted: CalibrationConfig) -> Source:
    """CaSiNo's dialogues of a split."""
    names = _names(wanted.split)
    folder = fetch(wanted.casino, names) if is_on_hub(wanted.casino) else Path(wanted.casino)
    read = [load_casino(folder / name) for name in names]
    episodes = tuple(episode for data in read for episode in data.episodes)
    left_out = tuple(remark for data in read for remark in data.left_out)
    about = f"dialogues between people, split {wanted.split}"
    if wanted.dialogues and wanted.dialogues < len(episodes):
        episodes = episodes[: wanted.dialogues]
        about += f", the first {wanted.dialogues}"
    return casino_labels(HumanData(episodes, left_out), about=about)


def _names(split: str) -> list[str]:
    return [name for part, name in _FILES.items() if split in (part, "all")]


def _check_casino(wanted: CalibrationConfig) -> None:
    if is_on_hub(wanted.casino):
        read_address(wanted.casino)
        return
    missing = [name for name in _names(wanted.split) if not Path(wanted.casino, name).is_file()]
    if missing:
        raise ConfigError(
            f"calibration.casino is {wanted.casino!r}, but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not there; give the folder with CaSiNo's "
            f"files, or {SCHEME}OWNER/DATASET for a data set that holds them."
        )
