"""Any number of evaluations side by side, paired on the scenarios that they share.

python -m training.compare EVALUATION EVALUATION ... [--out FOLDER]

Each is the folder of an evaluation or of a training run, of which the trained policy is taken. The
first is the baseline: differences are the others minus it. Scenarios, seats and seeds of an
evaluation do not depend on its policy, so that evaluations of different days pair up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engines.remote.tallies import dollars, nano_dollars
from envs.errors import DataError
from judges.base import DIMENSION_RANGES
from training.evaluation.finished import EvaluatedPolicy, read_policies
from training.evaluation.forest_plot import forest
from training.evaluation.outcomes import paired_statistics_of, statistics_of
from training.evaluation.tables import HEADLINE, difference, markdown_cell, number
from training.storage.files import to_json, write_text

TABLE, PICTURE, DATA = "comparison.md", "comparison.svg", "comparison.json"
TOGETHER = "all of this evaluation"


def compare(contestants: Sequence[EvaluatedPolicy], *, seed: int) -> dict[str, Any]:
    """Every metric of every policy against every partner that all have met.

    Returns:
        {"baseline": NAME, "partners": {PARTNER: {"policies": {NAME: {METRIC: STAT}}, "paired":
        {NAME: {METRIC: STAT}}, "episodes": {NAME: {"played", "unscored"}}}}, "cost_usd": {NAME:
        NUMBER or null}, "uncertain_usd": {NAME: NUMBER}, "folders": {NAME: FOLDER}}; paired is
        that policy minus the baseline.

    Raises:
        DataError: no partner was met by all.
    """
    first, *others = contestants
    shared = [name for name in first.measures if all(name in c.measures for c in others)]
    if not shared:
        raise DataError(
            "The evaluations share no partner ("
            + "; ".join(f"{c.name}: {', '.join(c.measures)}" for c in contestants)
            + "); evaluate them against the same ones."
        )
    return {
        "baseline": first.name,
        "partners": {
            partner: {
                "policies": {
                    c.name: statistics_of(c.measures[partner], seed=seed) for c in contestants
                },
                "paired": {
                    c.name: paired_statistics_of(
                        c.measures[partner], first.measures[partner], seed=seed
                    )
                    for c in others
                },
                "episodes": {c.name: dict(c.episodes[partner]) for c in contestants},
            }
            for partner in shared
        },
        "cost_usd": {c.name: c.cost_usd for c in contestants},
        "uncertain_usd": {c.name: c.uncertain_usd for c in contestants},
        "folders": {c.name: str(c.folder) for c in contestants},
    }


def compare_within(folder: Path) -> dict[str, Any]:
    """`compare` of the policies of one evaluation, with its clone as the baseline if it has one.

    What calls cost is known of all of them together.
    """
    contestants = list(read_policies(folder).values())
    whole = contestants[0]
    return compare(contestants, seed=int(whole.config["seed"])) | {
        "cost_usd": {TOGETHER: whole.cost_usd},
        "uncertain_usd": {TOGETHER: whole.uncertain_usd},
        "folders": {TOGETHER: str(whole.folder)},
    }


def write_comparison(comparison: Mapping[str, Any], folder: Path) -> None:
    """Write the comparison as data, as a table and as a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / DATA, to_json(comparison, indent=2) + "\n")
    write_text(folder / TABLE, markdown(comparison))
    write_text(folder / PICTURE, forest(comparison, "goal"))


def show_comparison(console: Console, comparison: Mapping[str, Any]) -> None:
    """Print a table a partner: each policy's headline metrics, and its goal beside the baseline."""
    for partner, found in comparison["partners"].items():
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        for name in ("", *(metric.replace("_", " ") for metric in HEADLINE)):
            table.add_column(name, justify="right" if name else "left")
        table.add_column(f"goal - {comparison['baseline']}", justify="right")
        table.add_column("unscored", justify="right")
        for name, stats in found["policies"].items():
            episodes = found["episodes"][name]
            table.add_row(
                escape(name),
                *(number(stats.get(metric)) for metric in HEADLINE),
                difference(found["paired"].get(name, {}).get("goal")),
                f"{episodes['unscored']} of {episodes['played']}",
            )
        console.print(f"partner: [bold]{escape(partner)}[/bold]", table, sep="\n")
    costs = ", ".join(f"{name} {_cost(comparison, name)}" for name in comparison["cost_usd"])
    console.print(f"cost of calls: {escape(costs)}", soft_wrap=True)


def markdown(comparison: Mapping[str, Any]) -> str:
    """All metrics with their intervals, a table a partner, differences behind the values."""
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
            "Means with 95 % bootstrap intervals over scenarios; n is how many scenarios all of a "
            "policy's seats were scored on. A difference is paired: this policy minus the baseline "
            "on the scenarios that both were scored on; bold where its interval leaves out 0.",
            "",
        ]
    )


def _cost(comparison: Mapping[str, Any], name: str) -> str:
    cost, uncertain = comparison["cost_usd"][name], comparison["uncertain_usd"][name]
    if cost is None:
        return "unknown price"
    doubt = f" and at most {dollars(nano_dollars(uncertain))} more" if uncertain else ""
    return dollars(nano_dollars(cost)) + doubt


def _partner_lines(found: Mapping[str, Any]) -> Iterator[str]:
    names = list(found["policies"])
    yield f"| | {' | '.join(names)} |"
    yield "|---" * (len(names) + 1) + "|"
    for metric in (*DIMENSION_RANGES, *_others(found)):
        cells = [_cell(found, name, metric) for name in names]
        yield f"| {metric.replace('_', ' ')} | {' | '.join(cells)} |"
    n = [str(found["policies"][name].get("goal", {}).get("n", 0)) for name in names]
    yield f"| n | {' | '.join(n)} |"
    unscored = [f"{e['unscored']} of {e['played']}" for e in map(found["episodes"].get, names)]
    yield f"| unscored episodes | {' | '.join(unscored)} |"


def _others(found: Mapping[str, Any]) -> list[str]:
    """The metrics beside the seven dimensions."""
    measured = [name for stats in found["policies"].values() for name in stats]
    return [name for name in dict.fromkeys(measured) if name not in DIMENSION_RANGES]


def _cell(found: Mapping[str, Any], name: str, metric: str) -> str:
    value = markdown_cell(found["policies"][name].get(metric), ".2f")
    change = found["paired"].get(name, {}).get(metric)
    if not change or change["mean"] is None:
        return value
    return f"{value}<br>{markdown_cell(change, '+.2f')}"
