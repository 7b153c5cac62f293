"""Formats statistics as table cells, for Markdown and for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

HEADLINE = ("goal", "partner_goal", "joint_welfare", "deal_rate", "words_per_turn")
"""The metrics that every table shows together, because goal alone rewards stubbornness."""


WORDS = {
    "bc": "the policy after stage 0, before it played itself",
    "final": "the policy that was measured, after training",
    "stubborn": "a control: bc, less willing to accept an offer",
    "self": "the policy in both seats",
    "frozen_bc": "bc as the partner, which does not learn",
    "experts": "scripted bargainers",
}
"""What the names of policies and partners in tables mean."""


def key(names: Iterable[str]) -> str:
    """One sentence on those of the names that need one; "" if none does."""
    said = [f"{name}: {WORDS[name]}" for name in dict.fromkeys(names) if name in WORDS]
    return f"{'; '.join(said)}." if said else ""


def leaves_out_zero(stat: Mapping[str, Any]) -> bool:
    """Whether the 95 % interval of a STAT does not contain 0."""
    low, high = stat["ci95"] or (0.0, 0.0)
    return bool(low > 0 or high < 0)


def markdown_cell(stat: Mapping[str, Any] | None, spec: str) -> str:
    """Format a STAT's mean and interval in Markdown; a dash if there is no mean.

    Args:
        stat: {"mean", "ci95", "n"} as `training.evaluation.statistics.Stat` writes it.
        spec: how to format the numbers, such as "+.2f". With a sign, the cell is bold if the
            interval does not contain 0.
    """
    if not stat or stat["mean"] is None:
        return "-"
    if stat["ci95"] is None:
        return format(stat["mean"], spec)
    low, high = (format(bound, spec) for bound in stat["ci95"])
    text = f"{stat['mean']:{spec}} [{low}, {high}]"
    return f"**{text}**" if spec.startswith("+") and leaves_out_zero(stat) else text


def mean_cell(stat: Mapping[str, Any] | None) -> str:
    """Format a STAT's mean for the terminal; a dash if there is none."""
    return "-" if not stat or stat["mean"] is None else f"{stat['mean']:.2f}"


def difference_cell(stat: Mapping[str, Any] | None) -> str:
    """Format a difference and its interval for the terminal, bold if it does not contain 0."""
    if not stat or stat["mean"] is None:
        return "-"
    if stat["ci95"] is None:
        return f"{stat['mean']:+.2f}"
    low, high = stat["ci95"]
    # Without spaces inside, so that a narrow terminal breaks the line before the interval.
    text = f"{stat['mean']:+.2f} \\[{low:+.2f}..{high:+.2f}]"
    return f"[bold]{text}[/bold]" if leaves_out_zero(stat) else text
