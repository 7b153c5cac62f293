"""A run as one page that needs nothing else: python -m training.report RUN

Reads summary.json, metrics.jsonl and the store, also while the run goes on. A line of metrics.jsonl
may hold {"evaluation": {PARTNER: {METRIC: STAT}}, "update": {NAME: NUMBER}}; summary.json may
hold {"acceptance": {POLICY: {"bins": [...], "accept": [STAT, ...]}}}, bins being edges or centres.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from envs.errors import ConfigError
from training.evaluation.tables import HEADLINE, leaves_out_zero
from training.report import excerpts
from training.report.figures import Chart, Curve, Point, colour_of, line_chart
from training.storage import run
from training.storage.files import write_text
from training.storage.run import read_metrics
from training.storage.store import Drop, Store

_PARTNERS = ("self", "frozen_bc", "experts")
_UPDATE_CHARTS: Mapping[str, Sequence[str]] = {
    "loss": ("loss",),
    "accuracy": ("accuracy",),
    "log ratios": ("chosen_log_ratio", "rejected_log_ratio", "margin"),
}
"""The numbers of an update that a page shows first, by chart."""

_DASH, _MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Cell:
    """One statistic as text; `clear` when the interval of a difference leaves out 0."""

    mean: str
    interval: str = ""
    clear: bool = False


@dataclass(frozen=True, slots=True)
class TableRow:
    """One policy, or the difference of two, against one partner.

    Attributes:
        unscored: how many of how many episodes no judge scored; empty for a difference.
    """

    name: str
    cells: tuple[Cell, ...]
    n: str
    is_difference: bool
    unscored: str = ""


@dataclass(frozen=True, slots=True)
class PartnerTable:
    """All policies against one partner."""

    partner: str
    rows: tuple[TableRow, ...]


@dataclass(frozen=True, slots=True)
class Subset:
    """Some of the scenarios apart, such as those that a program can check."""

    name: str
    scenarios: int
    tables: list[PartnerTable]


@dataclass(frozen=True, slots=True)
class DropRow:
    """One stage and reason; `counts` has one entry an iteration."""

    stage: str
    reason: str
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """Over all iterations."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class DropTable:
    """How much each stage left out and why, one column an iteration."""

    iterations: tuple[int, ...]
    rows: tuple[DropRow, ...]


def write_report(run_dir: Path | str) -> Path:
    """Write the run's report.html, in place of an earlier one.

    Raises:
        ConfigError: the folder is no run.
        StoreError: its store cannot be read.
    """
    folder = Path(run_dir).resolve()
    config = folder / run.CONFIG
    if not config.is_file():
        raise ConfigError(
            f"{folder} is not a run, for it has no {run.CONFIG}: name the folder of a run, such as "
            "outputs/latest."
        )
    summary = _read_summary(folder / run.SUMMARY)
    metrics = read_metrics(folder)
    others = _other_metrics(summary)
    with Store.read_only(folder / run.STORE) as store:
        page = (
            _environment()
            .get_template("report.html.j2")
            .render(
                name=folder.name,
                summary=summary,
                iterations_done=max((record["iteration"] for record in metrics), default=None),
                headline=HEADLINE,
                tables=partner_tables(summary, HEADLINE),
                subsets=[
                    Subset(subset, part["scenarios"], partner_tables(part, HEADLINE))
                    for subset, part in summary.get("subsets", {}).items()
                    if part["scenarios"] != summary["scenarios"]  # not what is shown already
                ],
                others=others,
                other_tables=partner_tables(summary, others),
                charts=evaluation_charts(metrics),
                update_charts=update_charts(metrics, _UPDATE_CHARTS),
                other_update_charts=update_charts(metrics, _other_updates(metrics)),
                acceptance=acceptance_chart(summary),
                drops=drop_table(store.drops()),
                groups=excerpts.groups(store),
                comparisons=excerpts.comparisons(store),
                samples=[*excerpts.self_play(store), *excerpts.evaluated(store)],
                config=config.read_text(encoding="utf-8"),
            )
        )
    report = folder / run.REPORT
    write_text(report, page.lstrip())
    return report


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,  # dialogues are written by models: never trust them as HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = lambda name: str(name).replace("_", " ")
    environment.filters["code"] = _code
    return environment


def _code(text: str) -> Markup:
    """What stands between backticks as code, everything as text."""
    return Markup(re.sub(r"`([^`<>]+)`", r"<code>\1</code>", str(escape(text))))


def _read_summary(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return summary


def partner_tables(summary: Mapping[str, Any], metrics: Sequence[str]) -> list[PartnerTable]:
    """A table a partner: its rows are the policies and, last, the paired differences."""
    policies: Mapping[str, Any] = summary.get("policies", {})
    differences = {"bc": summary.get("paired", {}), **summary.get("paired_to", {})}
    partners = _in_order(p for stats in policies.values() for p in stats)
    left_out = _left_out(summary.get("episodes", {}))
    return [
        PartnerTable(
            partner,
            (
                *(
                    replace(
                        _row(name, stats[partner], metrics, is_difference=False),
                        unscored=left_out.get((name, partner), ""),
                    )
                    for name, stats in policies.items()
                    if partner in stats
                ),
                *(
                    _row(f"final {_MINUS} {name}", stats, metrics, is_difference=True)
                    for name, paired in differences.items()
                    if (stats := paired.get(partner))
                ),
            ),
        )
        for partner in partners
    ]


def _left_out(episodes: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """By policy and partner how many of how many episodes are unscored."""
    return {
        (name, partner): f"{count['unscored']} of {count['played']}"
        for name, found in episodes.items()
        for partner, count in found.items()
    }


def _row(
    name: str, stats: Mapping[str, Any], metrics: Sequence[str], *, is_difference: bool
) -> TableRow:
    cells = tuple(_cell(stats.get(metric), signed=is_difference) for metric in metrics)
    counts = sorted({stats[m]["n"] for m in metrics if m in stats})
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]}{_DASH}{counts[-1]}" if counts else ""
    return TableRow(name, cells, n, is_difference)


def _cell(stat: Mapping[str, Any] | None, *, signed: bool) -> Cell:
    if stat is None or stat["mean"] is None:
        return Cell(_DASH)
    mean = _number(stat["mean"], signed=signed)
    if stat["ci95"] is None:
        return Cell(mean)
    low, high = stat["ci95"]
    interval = f"{_number(low, signed=signed)} to {_number(high, signed=signed)}"
    return Cell(mean, interval, clear=signed and leaves_out_zero(stat))


def _number(value: float, *, signed: bool) -> str:
    if round(value, 2) == 0:
        return "0.00"  # not +0.00 or -0.00
    return f"{value:{'+' if signed else ''}.2f}".replace("-", _MINUS)


def _other_metrics(summary: Mapping[str, Any]) -> list[str]:
    seen = (
        metric
        for partners in summary.get("policies", {}).values()
        for stats in partners.values()
        for metric in stats
    )
    return [metric for metric in dict.fromkeys(seen) if metric not in HEADLINE]


def _in_order(partners: Iterable[str]) -> list[str]:
    """Each partner once, the three that every run has first."""
    seen = dict.fromkeys(partners)
    return [p for p in _PARTNERS if p in seen] + [p for p in seen if p not in _PARTNERS]


def evaluation_charts(metrics: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """A chart for each headline metric, with a curve a partner, over the iterations."""
    partners = _in_order(p for record in metrics for p in record.get("evaluation", {}))
    charts = []
    for metric in HEADLINE:
        curves = [
            Curve(partner, colour_of(i), tuple(_evaluation_points(metrics, partner, metric)))
            for i, partner in enumerate(partners)
        ]
        curves = [curve for curve in curves if curve.points]
        if curves:
            charts.append(line_chart(metric, "iteration", curves, whole_x=True))
    return charts


def _evaluation_points(
    metrics: Sequence[Mapping[str, Any]], partner: str, metric: str
) -> Iterable[Point]:
    for record in metrics:
        stat = record.get("evaluation", {}).get(partner, {}).get(metric)
        if stat is not None:
            yield from _points([record["iteration"]], [stat])


def _other_updates(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[str]]:
    shown = {name for names in _UPDATE_CHARTS.values() for name in names}
    names = dict.fromkeys(name for record in metrics for name in record.get("update", {}))
    return {name: (name,) for name in names if name not in shown}


def update_charts(
    metrics: Sequence[Mapping[str, Any]], charts: Mapping[str, Sequence[str]]
) -> list[Chart]:
    """Numbers that the updates reported, over the iterations.

    Args:
        charts: title -> names of the numbers that share the chart.
    """
    drawn = []
    for title, names in charts.items():
        curves = [
            Curve(name, colour_of(i), tuple(_update_points(metrics, name)))
            for i, name in enumerate(names)
        ]
        curves = [curve for curve in curves if curve.points]
        if curves:
            drawn.append(line_chart(title, "iteration", curves, whole_x=True))
    return drawn


def _update_points(metrics: Sequence[Mapping[str, Any]], name: str) -> Iterable[Point]:
    for record in metrics:
        value = record.get("update", {}).get(name)
        if isinstance(value, int | float):
            yield Point(record["iteration"], value)


def acceptance_chart(summary: Mapping[str, Any]) -> Chart | None:
    """The probability of accepting an offer by what it is worth, a curve a policy."""
    curves = []
    for i, (policy, found) in enumerate(summary.get("acceptance", {}).items()):
        bins, stats = found["bins"], found["accept"]
        if len(bins) == len(stats) + 1:
            bins = [(low + high) / 2 for low, high in pairwise(bins)]
        curves.append(Curve(policy, colour_of(i), tuple(_points(bins, stats))))
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return None
    return line_chart("offers accepted", "worth as a share of the aim", curves, whole_x=False)


def _points(xs: Sequence[float], stats: Sequence[Mapping[str, Any]]) -> Iterable[Point]:
    for x, stat in zip(xs, stats, strict=True):
        if stat["mean"] is not None:
            ci95 = None if stat["ci95"] is None else (stat["ci95"][0], stat["ci95"][1])
            yield Point(x, stat["mean"], ci95)


def drop_table(drops: Sequence[Drop]) -> DropTable:
    """What was left out: a row a stage and reason, a column an iteration, and the sum."""
    iterations = tuple(sorted({drop.iteration for drop in drops}))
    counts = {(drop.stage, drop.reason, drop.iteration): drop.count for drop in drops}
    rows = (
        DropRow(stage, reason, tuple(counts.get((stage, reason, i), 0) for i in iterations))
        for stage, reason in dict.fromkeys((drop.stage, drop.reason) for drop in drops)
    )
    return DropTable(iterations, tuple(rows))
