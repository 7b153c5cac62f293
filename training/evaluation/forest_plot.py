"""Draws a forest plot: paired differences with intervals, a row per policy, a panel per partner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from training.evaluation.svg import SVG_STYLE, svg_text
from training.evaluation.table_cells import leaves_out_zero


def forest_plot(comparison: Mapping[str, Any], metric: str) -> str:
    """Draw one metric as SVG: each policy minus the baseline, with 95 % intervals.

    If there is only the baseline, its own values are drawn.

    Args:
        comparison: as `training.evaluation.comparison.compare` returns it.
    """
    partners, baseline = comparison["partners"], comparison["baseline"]
    others = list(next(iter(partners.values()))["paired"])
    names, label = others or [baseline], metric.replace("_", " ")
    size = (1.6 + 2.6 * len(partners), 0.9 + 0.32 * len(names))
    with matplotlib.rc_context({**SVG_STYLE, "svg.hashsalt": "forest"}):
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(partners), sharey=True, squeeze=False)[0]
        for axes, (partner, found) in zip(panels, partners.items(), strict=True):
            stats = found["paired"] if others else found["policies"]
            for row, name in enumerate(names):
                _draw(axes, row, stats[name].get(metric))
            if others:
                axes.axvline(0, color="0.6", linewidth=0.8)
            axes.set_title(partner, fontsize=9)
            axes.set_xlabel(f"{label} minus {baseline}" if others else label)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(len(names) - 0.5, -0.5)  # the first policy on top
        return svg_text(figure)


def _draw(axes: matplotlib.axes.Axes, row: int, stat: Mapping[str, Any] | None) -> None:
    if not stat or stat["mean"] is None:
        return
    low, high = stat["ci95"] or (stat["mean"], stat["mean"])
    colour = "#1b6ca8" if leaves_out_zero(stat) else "#8a8a8a"
    axes.plot([low, high], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot([stat["mean"]], [row], marker="o", markersize=5, color=colour)
