"""Prints a run's folders and its final results on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from engines.remote.server_words import without_codes
from judges.base import DIMENSION_RANGES
from training.evaluation.table_cells import HEADLINE, difference_cell, key, mean_cell
from training.report.stopwatch import duration


def show_place(console: Console, what: str, place: Path) -> None:
    """Print a path on one line, however narrow the terminal, so that it can be copied."""
    console.print(f"{what}: [bold]{escape(str(place))}[/bold]", soft_wrap=True)


def show_alarm(console: Console, sentence: str) -> None:
    """Print that something came to nothing, where a zero alone might be taken for a result."""
    console.print(f"[bold yellow]alarm:[/bold yellow] {escape(without_codes(sentence))}")


def show_iteration(
    console: Console, record: Mapping[str, Any], iterations: int, spent_s: Mapping[str, float]
) -> None:
    """Print an iteration on one line, the same on a terminal and in a file.

    Args:
        record: what metrics.jsonl says of it.
        spent_s: the seconds that its steps took, by name.
    """
    update, left = record["update"], iterations - record["iteration"]
    played_s = spent_s.get("collect", 0.0) + spent_s.get("branch", 0.0)
    said = [
        _number("goal", record.get("goal"), ".2f"),
        _number("deals", record.get("deal_rate"), ".0%"),
        _number("invalid", record.get("invalid_rate"), ".1%"),
        f"{record['examples']} examples",
        _number("accuracy", update.get("accuracy"), ".2f"),
        _number("loss", update.get("loss"), ".3f"),
        f"{record['sampled_tokens'] / played_s:.0f} tokens/s" if played_s else "",
        f"{left} to come in about {duration(left * sum(spent_s.values()))}" if left else "",
    ]
    line = f"iteration {record['iteration']} of {iterations}: {', '.join(filter(None, said))}"
    console.print(line, soft_wrap=True, markup=False, highlight=False)


def _number(name: str, value: float | None, spec: str) -> str:
    return "" if value is None else f"{name} {value:{spec}}"


def show_summary(console: Console, summary: Mapping[str, Any]) -> None:
    """Print one table per partner: the policies side by side, and their paired differences.

    Subsets, such as the scenarios that a program can check, follow in tables of their own. Each
    table says how many episodes are unscored and thus left out.
    """
    _show_tables(console, summary, _description(summary, summary["scenarios"]))
    for subset, part in summary["subsets"].items():
        if part["scenarios"] == summary["scenarios"]:
            continue  # the table above shows it
        _show_tables(console, part, f"{subset} alone: {_description(summary, part['scenarios'])}")
    policies = summary["policies"]
    console.print(f"[dim]{escape(key([*policies, *policies['final']]))}[/dim]")
    for note in summary["notes"]:
        console.print(f"note: {escape(without_codes(note))}")


def _description(summary: Mapping[str, Any], count: int) -> str:
    """What was played: a count of scenarios, and the protocol if there is one."""
    if summary["protocol"] is None:
        return f"{count} {summary['split']} scenarios"
    return f"{count} combinations, {summary['protocol']}, split {summary['split']}"


def _show_tables(console: Console, summary: Mapping[str, Any], description: str) -> None:
    differences = {"bc": summary["paired"], **summary["paired_to"]}
    for partner in summary["policies"]["final"]:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        table.add_column("")
        columns = {
            name: [mean_cell(found[partner].get(metric)) for metric in HEADLINE]
            for name, found in summary["policies"].items()
        } | {
            f"final - {name}": [difference_cell(found[partner].get(metric)) for metric in HEADLINE]
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
        console.print(
            f"partner: [bold]{escape(partner)}[/bold] ({escape(description)})", table, sep="\n"
        )
        console.print(_dimensions(summary["policies"]["final"][partner]), end="\n\n")


def _dimensions(stats: Mapping[str, Any]) -> str:
    """SOTOPIA's seven dimensions of the measured policy and their mean, with their ranges."""
    said = [
        f"{name.replace('_', ' ')} {mean_cell(stats.get(name))} ({low:g} to {high:g})"
        for name, (low, high) in DIMENSION_RANGES.items()
        if name != "goal"
    ]
    return f"final: overall {mean_cell(stats.get('overall'))}, the mean of goal and " + ", ".join(
        said
    )


_INTERVAL_WIDTH = len("[-0.00..-0.00]")
_NARROW_LABEL = len("per turn ")


def _width(console: Console, table: Table) -> int:
    """The width of a table that no terminal constrains."""
    return Measurement.get(console, console.options.update(width=10_000), table).maximum
