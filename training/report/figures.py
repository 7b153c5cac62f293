"""Draws line charts as inline SVG whose colours and font come from the surrounding page.

Matplotlib draws in placeholder colours, which are then replaced by CSS variables, so that one
drawing serves light and dark pages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.evaluation.svg import SVG_STYLE, svg_text

_INK, _FAINT = "#010203", "#010204"
_SERIES = tuple(f"#0a0b{i:02x}" for i in range(1, 7))
_VARIABLES = {_INK: "--muted", _FAINT: "--line"} | {
    colour: f"--series-{i}" for i, colour in enumerate(_SERIES, start=1)
}
_STYLE: dict[Any, Any] = {
    **SVG_STYLE,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "grid.color": _FAINT,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "ytick.major.size": 0,
}


@dataclass(frozen=True, slots=True)
class Point:
    """A value of a curve, with its 95 % interval if it has one."""

    x: float
    y: float
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """A named line; its colour is the page's CSS variable --series-N, N from 1."""

    name: str
    colour: int
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with its title and its curves, which the page lists in a legend."""

    title: str
    curves: tuple[Curve, ...]
    svg: Markup


def colour_of(index: int) -> int:
    """The colour number of the `index`-th name, from 1; colours repeat after six names."""
    return index % len(_SERIES) + 1


def line_chart(title: str, x_label: str, curves: Sequence[Curve], *, whole_x: bool) -> Chart:
    """Draw curves with their intervals as bands.

    Args:
        whole_x: whether the x axis has ticks at whole numbers only.
    """
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": title}):
        figure = Figure(figsize=(3.6, 2.3), layout="constrained")
        axes = figure.add_subplot()
        for curve in curves:
            _draw(axes, curve)
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=whole_x))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.margins(x=0.03, y=0.12)
        svg = svg_text(figure, transparent=True)
    return Chart(title, tuple(curves), _for_page(svg, title))


def _draw(axes: matplotlib.axes.Axes, curve: Curve) -> None:
    colour = _SERIES[curve.colour - 1]
    xs = [p.x for p in curve.points]
    axes.plot(xs, [p.y for p in curve.points], color=colour, linewidth=1.6, marker="o", ms=3)
    with_interval = [(p.x, *p.ci95) for p in curve.points if p.ci95 is not None]
    if len(with_interval) > 1:
        band_xs, lows, highs = zip(*with_interval, strict=True)
        axes.fill_between(band_xs, lows, highs, color=colour, alpha=0.14, linewidth=0)
    elif with_interval:
        x, low, high = with_interval[0]
        axes.vlines(x, low, high, color=colour, linewidth=1.2)


def _for_page(svg: str, title: str) -> Markup:
    """Adapt Matplotlib's SVG for inlining: drop metadata, sizes and fonts, use CSS colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style).*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # several charts share a page, ids must not
    svg = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", svg)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"font-family: [^;\"]*;", "", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    label = escape(title)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))
