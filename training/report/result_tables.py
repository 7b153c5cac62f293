"""The report's tables: results against each partner, and what was left out of training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from training.evaluation.table_cells import HEADLINE, leaves_out_zero, markdown_cell
from training.storage.store import Drop

_PARTNERS = ("self", "frozen_bc", "experts")
"""The partners that every run has; they come first."""

_DASH, _MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True)
class Cell:
    """A statistic as text.

    Attributes:
        clear: whether it is a difference whose interval does not contain 0.
    """

    mean: str
    interval: str = ""
    clear: bool = False


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a table: one policy, or the difference of two, against one partner.

    Attributes:
        n: how many scenarios the means are over.
        unscored: such as "3 of 40" episodes that no judge scored; empty for a difference.
    """

    name: str
    cells: tuple[Cell, ...]
    n: str
    is_difference: bool
    unscored: str = ""


@dataclass(frozen=True, slots=True)
class PartnerTable:
    """The results of all policies against one partner."""

    partner: str
    rows: tuple[TableRow, ...]


@dataclass(frozen=True, slots=True)
class Subset:
    """Results on some of the scenarios, such as those that a program can check."""

    name: str
    scenarios: int
    tables: list[PartnerTable]


@dataclass(frozen=True, slots=True)
class DropRow:
    """How many items one stage left out for one reason; `counts` has one entry per iteration."""

    stage: str
    reason: str
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """The sum over all iterations."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class DropTable:
    """How many items each stage left out and why, one column per iteration."""

    iterations: tuple[int, ...]
    rows: tuple[DropRow, ...]


def verdict(summary: Mapping[str, Any]) -> str:
    """The result in one sentence: goal over the clone by partner, or goal where there is none."""
    over_clone: Mapping[str, Any] = summary.get("paired") or {}
    final = summary.get("policies", {}).get("final", {})
    parts = [
        f"{markdown_cell(stats.get('goal'), spec).strip('*')} against {partner.replace('_', ' ')}"
        for found, spec in ((over_clone or final, "+.2f" if over_clone else ".2f"),)
        for partner, stats in found.items()
    ]
    if not parts:
        return ""
    what = "Goal (0 to 10) over the clone" if over_clone else "Goal (0 to 10)"
    return f"{what}: {'; '.join(parts)}."


def partner_tables(summary: Mapping[str, Any], metrics: Sequence[str]) -> list[PartnerTable]:
    """Make one table per partner; its rows are the policies and then the paired differences."""
    policies: Mapping[str, Any] = summary.get("policies", {})
    differences = {"bc": summary.get("paired", {}), **summary.get("paired_to", {})}
    partners = in_order(p for stats in policies.values() for p in stats)
    unscored = _unscored(summary.get("episodes", {}))
    return [
        PartnerTable(
            partner,
            (
                *(
                    replace(
                        _row(name, stats[partner], metrics, is_difference=False),
                        unscored=unscored.get((name, partner), ""),
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


def _unscored(episodes: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Counts of unscored episodes, such as "3 of 40", by (policy, partner)."""
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


def other_metrics(summary: Mapping[str, Any]) -> list[str]:
    """The metrics in a summary that are not headline metrics."""
    seen = (
        metric
        for partners in summary.get("policies", {}).values()
        for stats in partners.values()
        for metric in stats
    )
    return [metric for metric in dict.fromkeys(seen) if metric not in HEADLINE]


def in_order(partners: Iterable[str]) -> list[str]:
    """Partners without repeats, those that every run has first."""
    seen = dict.fromkeys(partners)
    return [p for p in _PARTNERS if p in seen] + [p for p in seen if p not in _PARTNERS]


def drop_table(drops: Sequence[Drop]) -> DropTable:
    """Make the table of what was left out: a row per stage and reason, a column per iteration."""
    iterations = tuple(sorted({drop.iteration for drop in drops}))
    counts = {(drop.stage, drop.reason, drop.iteration): drop.count for drop in drops}
    rows = (
        DropRow(stage, reason, tuple(counts.get((stage, reason, i), 0) for i in iterations))
        for stage, reason in dict.fromkeys((drop.stage, drop.reason) for drop in drops)
    )
    return DropTable(iterations, tuple(rows))
