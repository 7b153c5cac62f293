"""Checks the words of the command line before Hydra reads them, so that mistakes get a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from envs.errors import ConfigError
from envs.options import did_you_mean, option_names
from training.cli.compose import compose, groups, reworded
from training.config import RunConfig

SWEEPS = ("-m", "--multirun")


_FLAGS = ("-c", "--cfg", "--resolve", "-i", "--info", "--hydra-help", *SWEEPS)


def check_arguments(arguments: Iterable[str]) -> None:
    """Look at the words of the command line before Hydra does.

    Raises:
        ConfigError: a word is no KEY=VALUE, or names no group, no option or no file of a group.
    """
    known = groups()
    names = [*option_names(RunConfig), *known]
    for word in arguments:
        key, equals, value = word.partition("=")
        name = key.lstrip("+~").partition("@")[0]
        if word.startswith("-"):
            _check_flag(key)
        elif equals and name in known:
            _check_choice(key, name, value, known[name])
        elif equals and re.split("[./]", name)[0] != "hydra":
            _check_option(name, names)


def check_sweep(words: Sequence[str], check: Callable[[RunConfig], None]) -> None:
    """Check every run of a sweep before the first one starts.

    Raises:
        ConfigError: one of them is bound to fail.
    """
    plain = [word for word in words if not word.startswith("-")]
    try:
        overrides = OverridesParser.create().parse_overrides(plain)
    except HydraException as error:
        raise reworded(error) from error
    choices = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [word]
        for o, word in zip(overrides, plain, strict=True)
    ]
    for chosen in product(*choices):
        check(compose(chosen))


def _check_choice(key: str, group: str, value: str, names: list[str]) -> None:
    unknown = [choice for choice in value.strip("[]").split(",") if choice not in names]
    if unknown:
        raise ConfigError(
            f"There is no {group}={unknown[0]}.{did_you_mean(unknown[0], names)}"
            f" {group} can be {', '.join(names)}."
        )
    if group == "experiment" and not key.startswith("+"):
        raise ConfigError(f"An experiment is added, not set; write +experiment={value}.")


_FREE = ("judge.panel.",)
"""Below these, names are the user's own; mistakes there are found when the options are read."""


def _check_option(name: str, known: Sequence[str]) -> None:
    if name not in known and not name.startswith(_FREE):
        raise ConfigError(
            f"There is no option or group {name}.{did_you_mean(name, known)}"
            " --help lists the groups, training/config all options."
        )


def _check_flag(flag: str) -> None:
    if flag not in _FLAGS:
        raise ConfigError(
            f"There is no flag {flag}.{did_you_mean(flag, _FLAGS)} Options are set without dashes,"
            " as in seed=1; --help tells more."
        )
