"""What a run shows on the terminal: where it is, and in the end what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from training.evaluation.tables import HEADLINE, difference, number

if TYPE_CHECKING:  # imports torch, which not every command needs
    from training.play.waves import Progress as Report

P = ParamSpec("P")
T = TypeVar("T")


def show_place(console: Console, what: str, place: Path) -> None:
    """Print where something is, on one line in any terminal, so that it can be copied."""
    console.print(f"{what}: [bold]{escape(str(place))}[/bold]", soft_wrap=True)


class Stopwatch:
    """Shows each step's progress and adds up how long steps took, seconds by name.

    Args:
        shows_bars: not where a person plays, who types on the same terminal.
    """

    def __init__(self, console: Console | None = None, *, shows_bars: bool = True) -> None:
        self.console = console or Console()
        self._shows_bars = shows_bars
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
        with Progress(*columns, console=self.console, disable=not self._shows_bars) as bars:
            bar = bars.add_task(label, total=None)
            yield lambda done, total: bars.update(bar, completed=done, total=total)
            if bars.tasks[0].total is None:  # nothing had to be done
                bars.update(bar, completed=0, total=0)
        self._add(name, started)

    def timed(self, name: str, work: Callable[P, T]) -> Callable[P, T]:
        """The same work, timed under `name` and not shown, for what runs beside a step."""

        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            started = time.monotonic()
            done = work(*args, **kwargs)
            self._add(name, started)
            return done

        return run

    def _add(self, name: str, started: float) -> None:
        self.wall_s[name] = self.wall_s.get(name, 0.0) + time.monotonic() - started


def show_summary(console: Console, summary: Mapping[str, Any]) -> None:
    """Print the policies side by side with the paired differences, a table a partner.

    What is reported apart, such as the scenarios that a program can check, follows in tables of
    its own. Each table says how many episodes its numbers leave out.
    """
    _show_tables(console, summary, _what(summary, summary["scenarios"]))
    for subset, part in summary["subsets"].items():
        if part["scenarios"] == summary["scenarios"]:
            continue  # shown already
        _show_tables(console, part, f"{subset} alone: {_what(summary, part['scenarios'])}")
    for note in summary["notes"]:
        console.print(f"note: {escape(note)}")


def _what(summary: Mapping[str, Any], count: int) -> str:
    """What was played, with the name of a protocol where there is one."""
    if summary["protocol"] is None:
        return f"{count} {summary['split']} scenarios"
    return f"{count} combinations, {summary['protocol']}, split {summary['split']}"


def _show_tables(console: Console, summary: Mapping[str, Any], what: str) -> None:
    differences = {"bc": summary["paired"], **summary["paired_to"]}
    for partner in summary["policies"]["final"]:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        table.add_column("")
        columns = {
            name: [number(found[partner].get(metric)) for metric in HEADLINE]
            for name, found in summary["policies"].items()
        } | {
            f"final - {name}": [difference(found[partner].get(metric)) for metric in HEADLINE]
            for name, found in differences.items()
            if partner in found
        }
        for name in columns:
            width = _INTERVAL_WIDTH if name.startswith("final -") else None
            table.add_column(name, justify="right", min_width=width)
        for metric, *cells in zip(HEADLINE, *columns.values(), strict=True):
            table.add_row(metric.replace("_", " "), *cells)
        counts = [found[partner] for found in summary["episodes"].values()]
        table.add_row("unscored", *(f"{c['unscored']} of {c['played']}" for c in counts))
        if _width(console, table) > console.width:
            table.columns[0].max_width = _NARROW_LABEL
        console.print(f"partner: [bold]{escape(partner)}[/bold] ({escape(what)})", table, sep="\n")


_INTERVAL_WIDTH = len("[-0.00..-0.00]")
_NARROW_LABEL = len("per turn ")


def _width(console: Console, table: Table) -> int:
    """How wide a table would be if there were room for all."""
    return Measurement.get(console, console.options.update(width=10_000), table).maximum
