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


CONFIG_DIR = ("--config-dir", "-cd")
SHOWN = ("--cfg", "-c")

_FLAGS = (*SHOWN, "--resolve", "-i", "--info", "--hydra-help", *SWEEPS, *CONFIG_DIR, "--help")

_OWN_FILES = (
    "put files of yours into a folder, as DIR/GROUP/NAME.yaml, and choose them with "
    "--config-dir DIR GROUP=NAME."
)
_INSTEAD = {
    **dict.fromkeys(
        ("--shell-completion", "-sc"),
        "is Hydra's, and completes no command that is a module; --help lists all options, --help "
        "KEY explains one, and a typo is answered with the nearest name.",
    ),
    **dict.fromkeys(
        ("--config-path", "-cp", "--config-name", "-cn"),
        f"would replace the options that every run needs; {_OWN_FILES}",
    ),
    **dict.fromkeys(
        ("--package", "-p"), "cannot be given; --cfg job prints all options, --help KEY some."
    ),
    **dict.fromkeys(("--run", "-r"), "is what happens without it; leave it out."),
    "--experimental-rerun": "cannot be given; resume=RUN goes on with a run.",
    "--version": "cannot be given here; python -m training --version prints it.",
}
"""Flags of Hydra's that nothing here does, and what does it instead."""


def take_folders(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part the words of the command line into those for Hydra and the folders of --config-dir.

    Raises:
        ConfigError: the flag is the last word.
    """
    words: list[str] = []
    folders: list[str] = []
    left = iter(arguments)
    for word in left:
        flag, equals, value = word.partition("=")
        if flag not in CONFIG_DIR:
            words.append(word)
        elif folder := value if equals else next(left, ""):
            folders.append(folder)
        else:
            raise ConfigError(f"{flag} names no folder; {_OWN_FILES}")
    return words, folders


def asks_to_show(arguments: Sequence[str]) -> bool:
    """Whether `--cfg job` is among the words of the command line."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return any(
        (word in SHOWN and behind == "job") or word in [f"{flag}=job" for flag in SHOWN]
        for word, behind in pairs
    )


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
        elif name == "hydra.searchpath":
            raise ConfigError(f"hydra.searchpath cannot be set; {_OWN_FILES}")
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
        near = did_you_mean(unknown[0], names)
        known = (
            f"--help {group} lists all {len(names)}."
            if near and len(names) > _MANY
            else f"{group} can be {', '.join(names)}."
        )
        raise ConfigError(f"There is no {group}={unknown[0]}.{near} {known}")
    if group == "experiment" and not key.startswith("+"):
        raise ConfigError(f"An experiment is added, not set; write +experiment={value}.")


_MANY = 12
"""More names than these are not listed where the nearest one is known."""

_FREE = ("judge.panel.",)
"""Below these, names are the user's own; mistakes there are found when the options are read."""


def _check_option(name: str, known: Sequence[str]) -> None:
    if name not in known and not name.startswith(_FREE):
        raise ConfigError(
            f"There is no option or group {name}.{did_you_mean(name, known)}"
            " --help lists all of them, --help KEY explains one."
        )


def _check_flag(flag: str) -> None:
    if flag in _INSTEAD:
        raise ConfigError(f"{flag} {_INSTEAD[flag]}")
    if flag not in _FLAGS:
        raise ConfigError(
            f"There is no flag {flag}.{did_you_mean(flag, _FLAGS)} Options are set without dashes,"
            " as in seed=1; --help tells more."
        )
