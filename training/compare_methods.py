"""The command `python -m training.compare_methods RUN RUN ...`: compare methods over seeds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from training.cli.commands import program
from training.cli.run import errors_as_sentences
from training.report.method_tables import show_methods


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare finished runs by method, averaged over seeds; leads are over the first method."""
    parser = argparse.ArgumentParser(
        prog=program("training.compare_methods"), description=main.__doc__
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, help="default: beside the first run")
    given = parser.parse_args(arguments)
    with errors_as_sentences():
        show_methods([folder.resolve() for folder in given.folders], given.out)


if __name__ == "__main__":
    main()
