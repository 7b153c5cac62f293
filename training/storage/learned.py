"""How a checkpoint's turns were learned: the options that must be the same when it plays again.

A model that was trained on one prompt style, with short turns, does not know another one. So each
checkpoint keeps these options in a file of its own, and whoever names it gets them without asking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.errors import CheckpointError, ConfigError, in_one_line
from training.config import RunConfig
from training.config.play import API, BUILT_IN_POLICIES, CheckpointConfig, PolicyConfig
from training.storage.files import read_json
from training.storage.run_files import CHECKPOINTS, CONFIG
from training.storage.run_options import read_config

LEARNED = "learned.json"
LEARNED_OPTIONS = (
    "prompt_style",
    "max_new_tokens",
    "thinking",
    "prose_is_speech",
    "profiles",
    "constrained",
)
"""The options of a policy that its training depends on."""


@dataclass(frozen=True, slots=True)
class Player:
    """A model that the options name by a place on disk or on the hub.

    Attributes:
        option: the section of the options, such as "policy" or "partner.checkpoint".
    """

    option: str
    config: PolicyConfig | CheckpointConfig


def learned_with(policy: PolicyConfig) -> dict[str, object]:
    """What a checkpoint of that policy keeps."""
    return {name: getattr(policy, name) for name in LEARNED_OPTIONS}


def learned_options(name: str) -> dict[str, Any]:
    """How a checkpoint learned to write its turns, as far as its folder or its run tells.

    Returns:
        Options of `LEARNED_OPTIONS`; none for a model that Parley has not trained.

    Raises:
        CheckpointError: the checkpoint's record cannot be read.
        ConfigError: its run's options cannot.
    """
    folder = Path(name).resolve()
    record, run = folder / LEARNED, folder.parent.parent / CONFIG
    found: Mapping[str, Any] = {}
    if record.is_file():
        found = _read(record)
    elif folder.parent.name == CHECKPOINTS and folder.is_dir() and run.is_file():
        # Before checkpoints had a record of their own, and replies could be constrained.
        policy = read_config(run).get("policy", {})
        if not isinstance(policy, dict):
            raise ConfigError(f"{run} holds no options of the policy: restore it.")
        found = {"constrained": False} | policy
    return {name: found[name] for name in LEARNED_OPTIONS if found.get(name) is not None}


def players_by_name(config: RunConfig) -> Iterator[Player]:
    """The policy, the partner and the demonstrator, where they are models on disk or the hub."""
    if config.policy.name not in (*BUILT_IN_POLICIES, API):
        yield Player("policy", config.policy)
    if config.partner.weights.get("checkpoint") and config.partner.checkpoint is not None:
        yield Player("partner.checkpoint", config.partner.checkpoint)
    if config.demonstrator is not None:
        yield Player("demonstrations.checkpoint", config.demonstrator)


def check_learned(player: Player) -> None:
    """Check that a checkpoint is asked in the prompt style that it learned.

    Raises:
        ConfigError: it is not.
    """
    name, style = player.config.name, player.config.prompt_style
    learned = learned_options(name)
    if learned.get("prompt_style", style) != style:
        raise ConfigError(
            f"{player.option}.prompt_style is {style}, but {name} learned to answer in the style "
            f"{learned['prompt_style']}; set {words(player.option, learned)}, or leave these "
            "options out: the checkpoint brings them."
        )


def contradictions(config: RunConfig) -> list[str]:
    """Warnings about options that differ from those that a checkpoint learned with."""
    return [
        f"{player.option}.{name} is {text(getattr(player.config, name))}, but {player.config.name} "
        f"was trained with {text(value)}; leave the option out to play as it was trained."
        for player in players_by_name(config)
        for name, value in learned_options(player.config.name).items()
        if value != getattr(player.config, name)
    ]


def words(section: str, options: Mapping[str, Any]) -> str:
    """Options as they are written on the command line."""
    return " ".join(f"{section}.{name}={text(value)}" for name, value in options.items())


def text(value: object) -> str:
    """A value as it is written on the command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = read_json(file)
    except ValueError as error:
        raise CheckpointError(
            f"{file} is not JSON ({in_one_line(error)}): copy the whole checkpoint again."
        ) from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{file} holds no options: copy the whole checkpoint again.")
    return found
