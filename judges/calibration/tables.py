"""A calibration as tables for a terminal of 80 columns, as Markdown and as plain data for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from judges.calibration.agreement import Agreement, Estimate
from judges.calibration.canaries import BOUND, CanaryReport, CanaryResult
from judges.calibration.consistency import Shift, Steadiness
from judges.calibration.data import LabelKind
from judges.calibration.run import Calibration, Measured

_SHORT = {"financial_and_material_benefits": "benefits", "social_rules": "social rules"}

NOTES = (
    "Intervals are 95 %: by bootstrap over dialogues, and Wilson's for shares.",
    "const is the MAE of saying the labels' median every time; same is the share of scores that "
    "are the label itself.",
    "flips: another agent came out ahead; changes: the same, and leads that became ties or came "
    "from ties; moved: mean absolute difference of the two scores; same: share of equal ones.",
    "A canary plays to the judge. Its mean gain must stay below the bound, which comes from the "
    f"judge's noise; above: single dialogues that gained more than {BOUND} times the noise.",
)
"""What the columns mean."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as text; a cell's second line, if any, is its interval."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def grids(calibration: Calibration) -> list[Grid]:
    """The tables of a calibration, in the order in which they are read."""
    found = []
    for measured in calibration.measured:
        found.append(_agreements(measured))
        found += [
            _steadiness(measured, steady) for steady in measured.steadiness if steady.episodes
        ]
        found += _details(measured)
    if calibration.canaries is not None:
        found.append(_canaries(calibration.canaries))
    return found


def headline(calibration: Calibration) -> str:
    """Who was measured and what it was shown."""
    shown = "the scenario, the transcript and the task's points"
    if not calibration.sees_task:
        shown = "the scenario and the transcript alone"
    return f"Judge {calibration.judge_id}, version {calibration.judge_version}; it saw {shown}."


def show(console: Console, calibration: Calibration) -> None:
    """Print all tables."""
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
    """All tables as a page."""
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
    """The calibration as plain data; None becomes null."""
    plain = asdict(calibration)
    for measured in plain["measured"]:
        measured["agreements"] = [
            {**kind, **agreement} for kind, agreement in measured["agreements"]
        ]
    return plain


def _agreements(measured: Measured) -> Grid:
    counts = f"{measured.dialogues} dialogues, unscored: {len(measured.unscored)}"
    if measured.left_out:
        counts += f", not replayable: {measured.left_out}"
    return Grid(
        f"{measured.source}: {measured.about}; {counts}",
        ("score ~ label", "n", "Pearson", "Spearman", "MAE", "const", "same"),
        _rows(measured),
    )


def _rows(measured: Measured) -> tuple[tuple[str, ...], ...]:
    """A row a kind; that of deals alone only where there was anything else."""
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


def _steadiness(measured: Measured, steady: Steadiness) -> Grid:
    counts = f"{steady.episodes} episodes, unscored: {steady.unscored}"
    shifts = {name: shift for name, shift in steady.shifts.items() if shift.exact != 1}
    still = [shift for shift in steady.shifts.values() if shift.exact == 1]
    rows = [_shift(_short(name), shift) for name, shift in shifts.items()]
    if still:  # they are all alike, down to the intervals
        rows.append(_shift("the others" if rows else "all", still[0]))
    header = ("score", "flips", "changes", "moved", "same")
    return Grid(f"{measured.source}, {steady.what}: {counts}", header, tuple(rows))


def _shift(name: str, shift: Shift) -> tuple[str, ...]:
    return (
        name,
        _rate(shift.flips),
        _rate(shift.changes),
        _estimate(shift.mae),
        _share(shift.exact),
    )


def _details(measured: Measured) -> list[Grid]:
    """What the judge said of its own steadiness; no table for a judge that says nothing."""
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
        f"{above} of {result.twins}",
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
    """A Markdown cell: the interval in brackets behind the number, bars escaped."""
    first, _, second = cell.replace("|", "\\|").partition("\n")
    if not second:
        return first
    return f"{first} {second}" if second.startswith("~") else f"{first} [{second}]"
