"""Shows a comparison of methods: Markdown tables, terminal tables, and a forest plot of gains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.evaluation.forest_plot import forest_plot
from training.evaluation.table_cells import difference_cell, markdown_cell, mean_cell

TABLE, PLOT, DATA = "methods.md", "methods.svg", "methods.json"

INTERVALS = (
    "Means over seeds and scenarios with 95 % intervals by bootstrap over both (seeds and "
    "scenarios are drawn again independently); bold where an interval leaves out 0. With few "
    "seeds such an interval is somewhat too narrow, and with one it is over scenarios alone."
)

_GAINS = (
    ("partner_goal", "+.2f"),
    ("joint_welfare", "+.3f"),
    ("deal_rate", "+.3f"),
    ("words_per_turn", "+.2f"),
)
"""Metrics of which the table shows the gain over bc, with the format of their numbers."""


def markdown(comparison: Mapping[str, Any]) -> str:
    """Write one Markdown table per partner, and one of the tokens and steps of each method."""
    lines: list[str] = []
    for partner, found in comparison["partners"].items():
        lines += [f"### Partner: {partner}", "", *_partner_lines(comparison, found), ""]
    lines += ["### What each was given", ""]
    lines += [
        "| method | seeds | tokens sampled | update steps | examples | updates stopped by drift |"
    ]
    lines += ["|---|---|---|---|---|---|"]
    for name, runs in comparison["runs"].items():
        lines.append(
            f"| {name} | {', '.join(map(str, runs['seeds']))} | {runs['sampled_tokens']:,.0f} | "
            f"{runs['update_steps']:.0f} | {runs['examples']:.0f} | {runs['stopped_early']} |"
        )
    return "\n".join([*lines, "", INTERVALS, ""])


def _partner_lines(comparison: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    lead_over = comparison["lead_over"]
    heads = ["method", "goal", "over the clone", f"over {lead_over}", "relationship"]
    heads += ["partner's goal", "joint welfare", "deal rate", "words a turn"]
    # Records of earlier runs do not have it.
    has_invalid = any(stats["invalid_rate"]["value"]["n"] for stats in found.values())
    heads += ["invalid turns"] * has_invalid
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, stats in found.items():
        goal = stats["goal"]
        cells = [markdown_cell(goal["value"], ".2f"), markdown_cell(goal["gain"], "+.2f")]
        cells.append(markdown_cell(goal["lead"], "+.2f"))
        cells.append(markdown_cell(stats["relationship"]["value"], ".2f"))
        cells += [markdown_cell(stats[metric]["gain"], spec) for metric, spec in _GAINS]
        cells += [markdown_cell(stats["invalid_rate"]["value"], ".3f")] * has_invalid
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def plot_gains(comparison: Mapping[str, Any], metric: str = "goal") -> str:
    """Draw each method's gain over bc as a forest plot, in SVG."""
    partners = {
        partner: {
            "paired": {name: {metric: stats[metric]["gain"]} for name, stats in found.items()}
        }
        for partner, found in comparison["partners"].items()
    }
    return forest_plot({"baseline": "clone", "partners": partners}, metric)


def show(console: Console, comparison: Mapping[str, Any]) -> None:
    """Print one table per partner."""
    for partner, found in comparison["partners"].items():
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        heads = ("", "seeds", "goal", "over clone", f"over {comparison['lead_over']}", "deals")
        for head in heads:
            table.add_column(head, justify="right" if head else "left")
        for name, stats in found.items():
            goal = stats["goal"]
            table.add_row(
                escape(name),
                str(len(comparison["runs"][name]["seeds"])),
                mean_cell(goal["value"]),
                difference_cell(goal["gain"]),
                difference_cell(goal["lead"]),
                mean_cell(stats["deal_rate"]["value"]),
            )
        console.print(f"partner: [bold]{escape(partner)}[/bold]", table, sep="\n")
