"""Turns Matplotlib figures into SVG text, the same way for all plots."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.figure import Figure

SVG_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names come from configurations and may hold a $
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}
"""Matplotlib settings that all plots share."""


def svg_text(figure: Figure, *, transparent: bool = False) -> str:
    """Render a figure as SVG without a date, so that equal figures give equal text."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=transparent, metadata={"Date": None})
    return buffer.getvalue()
