"""Statistics as cells of tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEADLINE = ("goal", "partner_goal", "joint_welfare", "deal_rate", "words_per_turn")
"""The metrics that are read together: goal alone rewards stubbornness."""


def leaves_out_zero(stat: Mapping[str, Any]) -> bool:
    """Whether there is an interval and 0 is outside of it."""
    low, high = stat["ci95"] or (0.0, 0.0)
    return bool(low > 0 or high < 0)


def markdown_cell(stat: Mapping[str, Any] | None, spec: str) -> str:
    """Mean and interval in Markdown, or a dash; a signed one is bold where it leaves out 0.

    Args:
        stat: {"mean", "ci95", "n"} as `training.evaluation.statistics.Stat` writes it.
        spec: how numbers are formatted, such as "+.2f".
    """
    if not stat or stat["mean"] is None:
        return "-"
    if stat["ci95"] is None:
        return format(stat["mean"], spec)
    low, high = (format(bound, spec) for bound in stat["ci95"])
    text = f"{stat['mean']:{spec}} [{low}, {high}]"
    return f"**{text}**" if spec.startswith("+") and leaves_out_zero(stat) else text


def number(stat: Mapping[str, Any] | None) -> str:
    """A mean, or a dash where there is none."""
    return "-" if not stat or stat["mean"] is None else f"{stat['mean']:.2f}"


def difference(stat: Mapping[str, Any] | None) -> str:
    """A mean with its interval, bold where the interval leaves out 0."""
    if not stat or stat["mean"] is None:
        return "-"
    if stat["ci95"] is None:
        return f"{stat['mean']:+.2f}"
    low, high = stat["ci95"]
    # Without spaces inside, so that a narrow terminal breaks the line before the interval.
    text = f"{stat['mean']:+.2f} \\[{low:+.2f}..{high:+.2f}]"
    return f"[bold]{text}[/bold]" if leaves_out_zero(stat) else text
