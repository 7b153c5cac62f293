"""The command `python -m training.report RUN`: write a run's report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from training.cli.commands import program
from training.cli.run import errors_as_sentences
from training.report.page import write_report


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report of a run and print its path."""
    parser = argparse.ArgumentParser(prog=program("training.report"), description=main.__doc__)
    parser.add_argument("run", nargs="?", default="outputs/latest", help="default: %(default)s")
    with errors_as_sentences():
        print(write_report(parser.parse_args(arguments).run))


if __name__ == "__main__":
    main()
