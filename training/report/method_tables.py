"""The tables of methods, averaged over seeds: printed, and written beside the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

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
