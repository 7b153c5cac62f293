"""The table of subcommands of `parley`: one line each; and the start of the module behind one."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from envs.errors import ConfigError
from envs.options import did_you_mean

PARLEY: Final = "parley"


@dataclass(frozen=True, slots=True)
class Subcommand:
    """A word after `parley`, and the module that `python -m` would run in its place.

    Attributes:
        summary: what it does, in one line of `parley --help`.
    """

    name: str
    module: str
    summary: str


SUBCOMMANDS: Final = (
    Subcommand("train", "training.loop", "train a policy by self-play"),
    Subcommand("evaluate", "training.evaluate", "measure a policy against others"),
    Subcommand("compare", "training.compare", "compare evaluations, in pairs"),
    Subcommand("methods", "training.compare_methods", "compare runs by method, over seeds"),
    Subcommand("report", "training.report", "write a run's page"),
    Subcommand("calibrate", "judges.calibrate", "measure how good a judge is"),
    Subcommand("invent", "envs.scenarios.invent", "let a model write new scenes"),
    Subcommand("store", "training.store", "check that a run's folder is as it was written"),
    Subcommand("doctor", "training.doctor", "tell what works on this machine"),
    Subcommand("show", "envs.show", "print a scenario and a random episode of it"),
)
"""All subcommands, in the order of the help."""


def start(arguments: Sequence[str]) -> None:
    """Run the module behind a subcommand as `python -m` would, with the words after it.

    Args:
        arguments: the subcommand's name, then its own words.

    Raises:
        ConfigError: there is no such subcommand.
    """
    name, *words = arguments
    known = {each.name: each for each in SUBCOMMANDS}
    if name not in known:
        raise ConfigError(
            f"There is no subcommand {name!r}.{did_you_mean(name, known)} "
            f"{PARLEY} has {', '.join(known)}."
        )
    sys.argv[1:] = words
    _started.append(known[name])
    runpy.run_module(known[name].module, run_name="__main__", alter_sys=True)


_started: Final[list[Subcommand]] = []


def program(module: str) -> str:
    """How the command behind a module was called, for its usage: `parley NAME` or `python -m`."""
    for each in _started:
        if each.module == module:
            return f"{PARLEY} {each.name}"
    return f"python -m {module}"
