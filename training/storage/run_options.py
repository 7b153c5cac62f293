"""The options that a run was started with: read them back, and compare them with others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from envs.errors import ConfigError, in_one_line
from envs.options import defaults
from training.config import RunConfig
from training.storage.files import parse_yaml, to_json

IMMATERIAL_OPTIONS = frozenset(
    {"name", "resume", "output_root", "iterations", "logger", "threads"}
    | {"api", "budget_usd", "max_calls", "dry_run"}
)
"""Options that may change on resume: they say where, how long and how fast to run, not what."""

CALL_OPTIONS = ("timeout_s", "api_key_env", "input_usd_per_mtok", "output_usd_per_mtok")
"""Options of a model behind an API that may change on resume too."""

_ABSENT = object()


def read_config(file: Path) -> dict[str, Any]:
    """Read the options in a run's config.yaml.

    Raises:
        ConfigError: the file is not YAML, or holds no options.
    """
    try:
        config = parse_yaml(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file} is not YAML ({in_one_line(error)}): restore it, or start anew."
        ) from error
    if not isinstance(config, dict):
        raise ConfigError(f"{file} holds no options: restore it, or start a new run.")
    return config


def material_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Describe each option that differs between two configurations and changes results.

    An option that `old` does not have yet counts as its default.

    Returns:
        Phrases such as "seed was 1 and is 2".
    """
    before, after = flat(old), flat(json.loads(to_json(new)))  # tuples as YAML reads them back
    default_of = defaults(RunConfig)
    differences = []
    for key in sorted({*before, *after}):
        was, now = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if was is _ABSENT and now in (None, default_of.get(key)):
            continue
        first, *_, last = key.split(".") * 2
        if was != now and first not in IMMATERIAL_OPTIONS and last not in CALL_OPTIONS:
            differences.append(f"{key} was {_value_text(was)} and is {_value_text(now)}")
    return differences


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's options by dotted name; options added since the run was made have their defaults."""
    return defaults(RunConfig) | flat(config)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested options into one mapping by dotted name, such as "env.max_turns"."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _value_text(value: object) -> str:
    return "not set" if value is _ABSENT else to_json(value)
