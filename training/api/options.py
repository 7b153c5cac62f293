"""Options as Python gives them, turned into the words of the command line, and checked alike."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from os import PathLike, fspath
from typing import Any

from envs.errors import ConfigError
from training.cli.arguments import check_arguments
from training.cli.compose import compose, groups
from training.cli.model_choice import with_model_options
from training.cli.run import Command, say
from training.config import RunConfig
from training.config.method import cautions
from training.preflight.checks import check_packages
from training.preflight.endpoints import warnings
from training.storage.learned import contradictions

Options = Mapping[str, Any]
"""Options by name: {"seed": 1, "branch.points": 400} or {"branch": {"points": 400}}."""

_PLAIN = re.compile(r"[A-Za-z_./~][\w./:@~-]*")
_OTHER_VALUES = re.compile(r"(?i)true|false|null|nan|inf")


def configured(given: Options, check: Command | None = None) -> RunConfig:
    """The configuration that options give, checked as those of the command line are.

    Warnings go to stderr.

    Args:
        check: the command whose checks are made beside those of the options.

    Raises:
        ConfigError: an option or a choice is unknown, of the wrong type, out of range or at odds
            with another; the sentence is the one of the command line.
    """
    check_packages()
    words = list(words_of(given))
    check_arguments(words)
    for note in with_model_options(words).notes:
        say(note, "note", "bold cyan")
    config = compose(words)
    if check is not None:
        check.check(config)
    doubts = (*cautions(config.pairing), *contradictions(config), *warnings(config, date.today()))
    for doubt in doubts:
        say(doubt, "warning", "bold yellow")
    return config


def words_of(given: Options) -> Iterator[str]:
    """Each option as a word of the command line: `+experiment=NAME`, `seed=1`, `branch.points=4`.

    A mapping under a group's name sets options of that group; a text chooses one of its files.

    Raises:
        ConfigError: a value is neither text, a number, true or false, None, a path nor a mapping.
    """
    known = groups()
    for name, value in given.items():
        if name in known and not isinstance(value, Mapping):
            sign = "+" if name == "experiment" else ""
            yield f"{sign}{name}={fspath(value) if isinstance(value, PathLike) else value}"
        else:
            yield from _words(name, value)


def _words(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner, each in value.items():
            yield from _words(f"{name}.{inner}", each)
    else:
        yield f"{name}={_text(name, value)}"


def _text(name: str, value: Any) -> str:
    """A value as the command line has it, quoted where it would be read as something else."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, PathLike):
        value = fspath(value)
    if not isinstance(value, str):
        raise ConfigError(
            f"{name} is a {type(value).__name__}, expected text, a number, True, False, None, a "
            "path or a dict of options."
        )
    if _PLAIN.fullmatch(value) and not _OTHER_VALUES.fullmatch(value):
        return value
    # Backslashes are doubled before a quote alone, as Hydra's grammar wants it.
    escaped = re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value)
    return f"'{escaped}'"
