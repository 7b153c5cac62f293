"""What a run shows on the terminal: where it is, and in the end what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from training.waves import Progress as Report

_HEADLINE = ("goal", "partner_goal", "joint_welfare", "deal_rate", "words_per_turn")


class Stopwatch:
    """Shows each step's progress and adds up how long steps took, seconds by name."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self.wall_s: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, label: str) -> Iterator[Report]:
        """Time a step under `name`; yields what the step calls with (done, total)."""
        started = time.monotonic()
        columns = (
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console) as bars:
            bar = bars.add_task(label, total=None)
            yield lambda done, total: bars.update(bar, completed=done, total=total)
            if bars.tasks[0].total is None:  # nothing had to be done
                bars.update(bar, completed=0, total=0)
        self.wall_s[name] = self.wall_s.get(name, 0.0) + time.monotonic() - started


def show_summary(console: Console, summary: Mapping[str, Any]) -> None:
    """Print the policies side by side and the paired differences, a table a partner."""
    for partner in summary["paired"]:
        table = Table(
            title=f"partner: {partner} ({summary['scenarios']} {summary['split']} scenarios)",
            title_justify="left",
        )
        table.add_column("policy")
        for metric in _HEADLINE:
            table.add_column(metric.replace("_", " "), justify="right")
        for name, partners in summary["policies"].items():
            table.add_row(name, *(_number(partners[partner].get(m)) for m in _HEADLINE))
        table.add_section()
        rows = {"final - bc": summary["paired"]} | {
            f"final - {name}": found for name, found in summary["paired_to"].items()
        }
        for label, found in rows.items():
            table.add_row(label, *(_difference(found[partner].get(m)) for m in _HEADLINE))
        console.print(table)


def _number(stat: Mapping[str, Any] | None) -> str:
    return "-" if not stat or stat["mean"] is None else f"{stat['mean']:.2f}"


def _difference(stat: Mapping[str, Any] | None) -> str:
    if not stat or stat["mean"] is None or stat["ci95"] is None:
        return "-"
    low, high = stat["ci95"]
    text = f"{stat['mean']:+.2f} [{low:+.2f}, {high:+.2f}]"
    if low > 0:
        return f"[green]{text.replace('[', chr(92) + '[')}[/green]"
    return text.replace("[", "\\[")
