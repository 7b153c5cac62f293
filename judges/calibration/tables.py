"""Shows a calibration: tables for an 80-column terminal, Markdown, and plain data for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from judges.calibration.agreement import Agreement, Estimate
from judges.calibration.canaries import BOUND, CanaryReport, CanaryResult
from judges.calibration.consistency import Consistency, Shift
from judges.calibration.data import LabelKind
from judges.calibration.run import Calibration, SourceResult

_SHORT = {"financial_and_material_benefits": "benefits", "social_rules": "social rules"}

NOTES = (
    "Intervals are 95 %: by bootstrap over dialogues, and Wilson's for shares.",
    "const is the MAE of always giving the labels' median; same is the share of scores that equal "
    "the label.",
    "flips: the other agent scored higher the second time; changes: flips, and leads that became "
    "ties or came from ties; moved: mean absolute difference of the two scores; same: share of "
    "equal ones.",
    "A canary tries to manipulate the judge. Its mean gain must not exceed the bound, which comes "
    f"from the judge's noise; above: dialogues that gained more than {BOUND} times the noise.",
)
"""Sentences below the tables that explain their columns."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of text; a cell's second line, if any, is its interval."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def grids(calibration: Calibration) -> list[Grid]:
    """Make the tables of a calibration, in reading order."""
    tables = []
    for measured in calibration.measured:
        tables.append(_agreements(measured))
        tables += [
            _consistency(measured, found) for found in measured.consistency if found.episodes
        ]
        tables += _details(measured)
    if calibration.canaries is not None:
        tables.append(_canaries(calibration.canaries))
    return tables


def headline(calibration: Calibration) -> str:
    """A sentence that names the judge and what it was shown."""
    shown = "the scenario, the transcript and the task's points"
    if not calibration.sees_task:
        shown = "the scenario and the transcript alone"
    return f"Judge {calibration.judge_id}, version {calibration.judge_version}; it saw {shown}."


def show(console: Console, calibration: Calibration) -> None:
    """Print all tables of a calibration."""
    console.print(escape(headline(calibration)))
    for grid in grids(calibration):
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
        table.add_column(grid.header[0])
        for name in grid.header[1:]:
            table.add_column(name, justify="right")
        for row in grid.rows:
            table.add_row(*(escape(cell) for cell in row))
        console.print(f"[bold]{escape(grid.title)}[/bold]", table, sep="\n")
    for note in NOTES:
        console.print(escape(note))


def markdown(calibration: Calibration) -> str:
    """Write all tables of a calibration in Markdown."""
    parts = ["# How good is the judge?", headline(calibration)]
    for one in calibration.measured:
        mappings = "".join(
            f"\n* {kind.label} -> {kind.dimension}: {kind.mapping}"
            for kind, _ in one.agreements
            if not kind.deals_only
        )
        parts.append(
            f"Labels of {one.source} ({one.about}), each on its dimension's scale:\n{mappings}"
        )
    for grid in grids(calibration):
        lines = [grid.header, ("---", *("---:" for _ in grid.header[1:])), *grid.rows]
        body = "\n".join("| " + " | ".join(map(_one_line, line)) + " |" for line in lines)
        parts.append(f"## {_one_line(grid.title)}\n\n{body}")
    return "\n\n".join([*parts, *NOTES]) + "\n"


def as_json(calibration: Calibration) -> dict[str, Any]:
    """Convert a calibration to plain data, the content of calibration.json."""
    plain = asdict(calibration, dict_factory=_with_json_keys)
    for measured in plain["measured"]:
        measured["agreements"] = [
            {**kind, **agreement} for kind, agreement in measured["agreements"]
        ]
    return plain


_JSON_KEYS = {"consistency": "steadiness", "copies": "twins"}
"""Fields that have another name in calibration.json."""


def _with_json_keys(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {_JSON_KEYS.get(name, name): value for name, value in fields}


def _agreements(measured: SourceResult) -> Grid:
    counts = f"{measured.dialogues} dialogues, unscored: {len(measured.unscored)}"
    if measured.left_out:
        counts += f", not replayable: {measured.left_out}"
    return Grid(
        f"{measured.source}: {measured.about}; {counts}",
        ("score ~ label", "n", "Pearson", "Spearman", "MAE", "const", "same"),
        _rows(measured),
    )


def _rows(measured: SourceResult) -> tuple[tuple[str, ...], ...]:
    """One row per kind of label; the kind of deals only if it differs from that of all."""
    rows, whole = [], -1
    for kind, found in measured.agreements:
        if not (kind.deals_only and found.n == whole):
            rows.append(_agreement(kind, found))
        whole = found.n
    return tuple(rows)


def _agreement(kind: LabelKind, found: Agreement) -> tuple[str, ...]:
    return (
        f"{_short(kind.dimension)}\n~ {kind.label}",
        str(found.n),
        _estimate(found.pearson),
        _estimate(found.spearman),
        _estimate(found.mae),
        _number(found.mae_of_constant),
        _share(found.exact),
    )


def _consistency(measured: SourceResult, found: Consistency) -> Grid:
    counts = f"{found.episodes} episodes, unscored: {found.unscored}"
    shifts = {name: shift for name, shift in found.shifts.items() if shift.exact != 1}
    unmoved = [shift for shift in found.shifts.values() if shift.exact == 1]
    rows = [_shift(_short(name), shift) for name, shift in shifts.items()]
    if unmoved:  # they are all alike, down to the intervals
        rows.append(_shift("the others" if rows else "all", unmoved[0]))
    header = ("score", "flips", "changes", "moved", "same")
    return Grid(f"{measured.source}, {found.what}: {counts}", header, tuple(rows))


def _shift(name: str, shift: Shift) -> tuple[str, ...]:
    return (
        name,
        _rate(shift.flips),
        _rate(shift.changes),
        _estimate(shift.mae),
        _share(shift.exact),
    )


def _details(measured: SourceResult) -> list[Grid]:
    """A table of what the judge reports about its own consistency, if anything."""
    if not measured.details:
        return []
    rows = tuple((name, _estimate(found)) for name, found in measured.details.items())
    title = f"{measured.source}, within one judgement, by the judge's own account"
    return [Grid(title, ("what", "mean"), rows)]


def _canaries(report: CanaryReport) -> Grid:
    noise = ", ".join(f"{name} {value:.2f}" for name, value in report.noise.items())
    title = f"canaries: {report.passed} of {len(report.results)} passed; noise: {noise}"
    measures = tuple(report.noise)
    header = ("canary", *(f"{name} (bound)" for name in measures), "above", "unscored", "")
    return Grid(title, header, tuple(_canary(result, measures) for result in report.results))


def _canary(result: CanaryResult, measures: tuple[str, ...]) -> tuple[str, ...]:
    gains = (result.gains.get(name) for name in measures)
    above = max((gain.above for gain in result.gains.values()), default=0)
    return (
        result.name,
        *("-" if gain is None else f"{gain.mean:+.2f} ({gain.bound:.2f})" for gain in gains),
        f"{above} of {result.copies}",
        str(result.unscored),
        result.verdict,
    )


def _short(dimension: str) -> str:
    return _SHORT.get(dimension, dimension)


def _estimate(estimate: Estimate) -> str:
    if estimate.ci95 is None:
        return _number(estimate.value)
    low, high = estimate.ci95
    return f"{_number(estimate.value)}\n{_number(low)}..{_number(high)}"


def _rate(estimate: Estimate) -> str:
    if estimate.ci95 is None:
        return _share(estimate.value)
    low, high = estimate.ci95
    return f"{_share(estimate.value)}\n{100 * low:.0f}..{100 * high:.0f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _one_line(cell: str) -> str:
    """Put a cell on one line for Markdown: the interval in brackets, bars escaped."""
    first, _, second = cell.replace("|", "\\|").partition("\n")
    if not second:
        return first
    return f"{first} {second}" if second.startswith("~") else f"{first} [{second}]"
