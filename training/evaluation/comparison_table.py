"""Shows a comparison of policies as tables, on the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engines.remote.usage_totals import dollars, nano_dollars
from judges.base import DIMENSION_RANGES
from training.evaluation.table_cells import HEADLINE, difference_cell, markdown_cell, mean_cell


def show_comparison(console: Console, comparison: Mapping[str, Any]) -> None:
    """Print one table per partner, with headline metrics and the goal's paired difference.

    Policies are numbered, so that names of any length leave room for the numbers: 80 columns do.
    """
    names = list(comparison["folders"])
    for number, name in enumerate(names, start=1):
        baseline = ", the baseline" if name == comparison["baseline"] else ""
        cost = f"{_cost(comparison, name)} of calls"
        console.print(f"{number}  [bold]{escape(name)}[/bold]{baseline}; {cost}", soft_wrap=True)
        console.print(f"   {escape(comparison['folders'][name])}", soft_wrap=True)
    first = 1 + names.index(comparison["baseline"])
    for partner, found in comparison["partners"].items():
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        for title in ("", *(metric.replace("_", " ") for metric in HEADLINE)):
            table.add_column(title, justify="right")
        table.add_column(f"goal minus {first}'s", justify="right", no_wrap=True)
        table.add_column("un-\nscored", justify="right")
        for name, stats in found["policies"].items():
            episodes = found["episodes"][name]
            table.add_row(
                str(1 + names.index(name)),
                *(mean_cell(stats.get(metric)) for metric in HEADLINE),
                difference_cell(found["paired"].get(name, {}).get("goal")),
                f"{episodes['unscored']} of {episodes['played']}",
            )
        console.print(f"\npartner: [bold]{escape(partner)}[/bold]", table, sep="\n")
    console.print(
        "Means over scenarios; in brackets the 95 % interval of the paired difference, bold where "
        "it leaves out 0."
    )


def markdown(comparison: Mapping[str, Any]) -> str:
    """Write one Markdown table per partner, with all metrics, intervals and differences."""
    has_others = any(found["paired"] for found in comparison["partners"].values())
    title = "Policies compared with" if has_others else "Policy"
    lines = [f"# {title} {comparison['baseline']}", ""]
    for partner, found in comparison["partners"].items():
        lines += [f"## Partner: {partner}", "", *_partner_lines(found), ""]
    lines += ["| policy | cost of its calls | folder |", "|---|---|---|"]
    for name, folder in comparison["folders"].items():
        lines.append(f"| {name} | {_cost(comparison, name)} | {folder} |")
    return "\n".join(
        [
            *lines,
            "",
            "Means with 95 % bootstrap intervals over scenarios. n counts the scenarios on which "
            "every seat of the policy was scored. A difference is paired: the policy minus the "
            "baseline, on the scenarios that both were scored on. It is bold if its interval does "
            "not contain 0.",
            "",
        ]
    )


def _cost(comparison: Mapping[str, Any], name: str) -> str:
    cost, uncertain = comparison["cost_usd"][name], comparison["uncertain_usd"][name]
    if cost is None:
        return "unknown price"
    extra = f" and at most {dollars(nano_dollars(uncertain))} more" if uncertain else ""
    return dollars(nano_dollars(cost)) + extra


def _partner_lines(found: Mapping[str, Any]) -> Iterator[str]:
    names = list(found["policies"])
    yield f"| | {' | '.join(names)} |"
    yield "|---" * (len(names) + 1) + "|"
    for metric in (*DIMENSION_RANGES, *_other_metrics(found)):
        cells = [_cell(found, name, metric) for name in names]
        yield f"| {metric.replace('_', ' ')} | {' | '.join(cells)} |"
    n = [str(found["policies"][name].get("goal", {}).get("n", 0)) for name in names]
    yield f"| n | {' | '.join(n)} |"
    unscored = [f"{e['unscored']} of {e['played']}" for e in map(found["episodes"].get, names)]
    yield f"| unscored episodes | {' | '.join(unscored)} |"


def _other_metrics(found: Mapping[str, Any]) -> list[str]:
    """The metrics other than the seven dimensions."""
    measured = [name for stats in found["policies"].values() for name in stats]
    return [name for name in dict.fromkeys(measured) if name not in DIMENSION_RANGES]


def _cell(found: Mapping[str, Any], name: str, metric: str) -> str:
    value = markdown_cell(found["policies"][name].get(metric), ".2f")
    change = found["paired"].get(name, {}).get(metric)
    if not change or change["mean"] is None:
        return value
    return f"{value}<br>{markdown_cell(change, '+.2f')}"
