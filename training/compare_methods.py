"""The command `python -m training.compare_methods RUN RUN ...`: compare methods over seeds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from training.cli.run import errors_as_sentences
from training.evaluation.method_comparison import compare_methods, group_by_method
from training.evaluation.method_table import DATA, PLOT, TABLE, markdown, plot_gains, show
from training.evaluation.trials import read_run
from training.report.console import show_place
from training.storage.files import to_json, write_text


def show_methods(folders: Sequence[Path], out: Path | None = None) -> None:
    """Compare finished runs by method, print the tables, and write them to a folder.

    Args:
        out: None for a folder beside the first run.
    """
    comparison = compare_methods(group_by_method(read_run(folder) for folder in folders))
    out = out or folders[0].parent / f"{folders[0].name}-methods"
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / DATA, to_json(comparison, indent=2) + "\n")
    write_text(out / TABLE, markdown(comparison))
    write_text(out / PLOT, plot_gains(comparison))
    console = Console()
    show(console, comparison)
    show_place(console, "table", out / TABLE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare finished runs by method, averaged over seeds; leads are over the first method."""
    parser = argparse.ArgumentParser(
        prog="python -m training.compare_methods", description=main.__doc__
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, help="default: beside the first run")
    given = parser.parse_args(arguments)
    with errors_as_sentences():
        show_methods([folder.resolve() for folder in given.folders], given.out)


if __name__ == "__main__":
    main()
