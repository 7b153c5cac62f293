"""The command `python -m training.store check RUN`: is a run's folder as it was written?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from training.cli.commands import program
from training.cli.run import errors_as_sentences
from training.storage.check import check_run


def main(arguments: Sequence[str] | None = None) -> None:
    """Check a run's store, results and checkpoints, and print what is right and what isn't.

    Raises:
        SystemExit: status 1 where something is damaged, 2 where the folder is not a run.
    """
    parser = argparse.ArgumentParser(
        prog=program("training.store"),
        description="Check a run's store, results and checkpoints; exit code 1 if any is damaged.",
    )
    parser.add_argument("action", choices=["check"])
    parser.add_argument("run", nargs="?", default="outputs/latest", help="default: %(default)s")
    given = parser.parse_args(arguments)
    console, faults = Console(soft_wrap=True, highlight=False), 0
    with errors_as_sentences():
        for finding in check_run(Path(given.run)):
            word, style = ("right", "green") if finding.is_right else ("WRONG", "bold red")
            console.print(Text.assemble((word, style), f"  {finding.what}: {finding.said}"))
            faults += not finding.is_right
    raise SystemExit(min(faults, 1))


if __name__ == "__main__":
    main()
