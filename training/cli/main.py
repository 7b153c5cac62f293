"""The command `parley`: a subcommand and its words, or the list of subcommands."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

from envs.extras import DISTRIBUTION
from training.cli.commands import PARLEY, SUBCOMMANDS, start
from training.cli.run import errors_as_sentences

_HELP = """\
Parley trains language-model agents to talk to others: a model plays against itself and others,
finds the turns that cost it most, plays them again, and learns from the better ends.

  parley train +experiment=sotopia_sdpo     train a small model; minutes on two cores

Subcommands:

{subcommands}

`parley NAME --help` tells more of each. `python -m MODULE`, in brackets above, does the same."""


def main() -> None:
    """Run the subcommand that the command line names.

    Raises:
        SystemExit: status 2 where there is no such subcommand; else the subcommand's own.
    """
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_HELP.format(subcommands=_lines()))
    elif words[0] == "--version":
        print(f"{PARLEY} {_version()}")
    else:
        with errors_as_sentences():
            start(words)


def _lines() -> str:
    return "\n".join(f"  {s.name:<10} {s.summary} ({s.module})" for s in SUBCOMMANDS)


def _version() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "of a checkout that is not installed"
