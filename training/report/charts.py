"""The report's charts: learning curves, numbers of the updates, and the acceptance curve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from training.evaluation.table_cells import HEADLINE
from training.report.figures import Chart, Curve, Point, colour_of, line_chart
from training.report.result_tables import in_order

UPDATE_CHARTS: Mapping[str, Sequence[str]] = {
    "loss": ("loss",),
    "accuracy": ("accuracy",),
    "log ratios": ("chosen_log_ratio", "rejected_log_ratio", "margin"),
}
"""The numbers of an update that the report shows first, by chart."""


def evaluation_charts(metrics: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Draw each headline metric over the iterations, one curve per partner."""
    partners = in_order(p for record in metrics for p in record.get("evaluation", {}))
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


def other_updates(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[str]]:
    """One chart for each number of the updates that `UPDATE_CHARTS` does not show."""
    shown = {name for names in UPDATE_CHARTS.values() for name in names}
    names = dict.fromkeys(name for record in metrics for name in record.get("update", {}))
    return {name: (name,) for name in names if name not in shown}


def update_charts(
    metrics: Sequence[Mapping[str, Any]], charts: Mapping[str, Sequence[str]]
) -> list[Chart]:
    """Draw numbers that the updates reported over the iterations.

    Args:
        charts: title -> names of the numbers in that chart.
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
    """Draw how often an offer is accepted by its worth, one curve per policy; None without data."""
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
