"""The command `python -m training.compare EVALUATION EVALUATION ...`: compare policies."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from training.cli.commands import program
from training.cli.run import errors_as_sentences
from training.evaluation.comparison import TABLE, compare, write_comparison
from training.evaluation.comparison_table import show_comparison
from training.evaluation.evaluated_policies import read_evaluations
from training.report.console import show_place


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare finished evaluations, paired on shared scenarios; the first is the baseline."""
    parser = argparse.ArgumentParser(prog=program("training.compare"), description=main.__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="EVALUATION")
    parser.add_argument(
        "--out", type=Path, default=Path("outputs", "comparison"), help="default: %(default)s"
    )
    given = parser.parse_args(arguments)
    with errors_as_sentences():
        policies = read_evaluations(given.folders)
        comparison = compare(policies, seed=int(policies[0].config["seed"]))
        write_comparison(comparison, given.out)
        console = Console()
        show_comparison(console, comparison)
        show_place(console, "table", given.out / TABLE)


if __name__ == "__main__":
    main()
