"""Writes the page of results from the records of studies; its prose is a template beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from envs.errors import DataError
from training.evaluation.method_comparison import compare_methods, group_by_method, mean_gain
from training.evaluation.method_table import markdown, plot_gains
from training.evaluation.study import Studies, Study
from training.evaluation.trials import Trial, read_trial
from training.storage.files import read_json, write_text
from training.storage.run_files import TRAINED

TEMPLATE = "page.md.j2"

MOST_DEALS_LOST = 0.02
"""The best variant is the one that gains most among those that lose at most this deal rate."""


@dataclass(frozen=True, slots=True)
class RunLine:
    """How one run was made: its command, the commits of its code, and its duration."""

    command: str
    commits: str
    minutes: str


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A method's goal and relationship in self-play, as published and as measured here."""

    method: str
    published: str
    measured: str


@dataclass(frozen=True, slots=True)
class Section:
    """What the template shows of one study.

    Attributes:
        tables: Markdown tables of a study without variants; else empty.
        beside_the_paper: rows of a study without variants; else empty.
        variant_rows: experiment and a cell per variant, of a study with variants; else empty.
        reading: the hand-written interpretation; empty if there is none.
        dialogues: of the first record that has some: scenario, text before and after.
    """

    name: str
    study: Study
    methods_run: int
    methods_total: int
    tables: str
    beside_the_paper: tuple[ScoreRow, ...]
    variant_rows: tuple[tuple[str, tuple[str, ...]], ...]
    reading: str
    dialogues: tuple[Mapping[str, str], ...]
    runs: tuple[RunLine, ...]


def page(studies: Studies, results: Path, template: Path) -> str:
    """Fill the page's template from the records that exist, and write plots beside them.

    Args:
        results: the folder of the records, with a subfolder per study.
        template: a Jinja file that gets `options`, `sections` and `most_deals_lost`.

    Raises:
        DataError: a record cannot be read or is of another study, or the template is faulty.
    """
    sections = []
    for name, study in studies.studies.items():
        files = sorted((results / name).glob("*.json"))
        if files:
            sections.append(_section(name, study, files, results))
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    try:
        return environment.get_template(template.name).render(
            options=studies.options, sections=sections, most_deals_lost=MOST_DEALS_LOST
        )
    except TemplateError as error:
        raise DataError(
            f"{template} cannot be filled ({type(error).__name__}: {error}); correct it."
        ) from error


def _section(name: str, study: Study, files: Sequence[Path], results: Path) -> Section:
    methods = list(study.methods())
    trials = [read_trial(file) for file in files]
    ordered = sorted(trials, key=lambda trial: methods.index(_known_method(trial, methods)))
    comparison: dict[str, Any] = {}
    if not study.variants:
        comparison = compare_methods(group_by_method(ordered))
        write_text(results / f"{name}.svg", plot_gains(comparison))
    reading = results / f"{name}.reading.md"
    return Section(
        name=name,
        study=study,
        methods_run=len({trial.method for trial in trials}),
        methods_total=len(methods),
        tables=markdown(comparison) if comparison else "",
        beside_the_paper=tuple(_score_rows(study, comparison)) if comparison else (),
        variant_rows=tuple(_variant_rows(study, ordered)) if study.variants else (),
        reading=reading.read_text(encoding="utf-8") if reading.is_file() else "",
        dialogues=_first_dialogues(files),
        runs=tuple(map(_run_line, files)),
    )


def _first_dialogues(files: Sequence[Path]) -> tuple[Mapping[str, str], ...]:
    found = (read_json(file).get("dialogues") for file in files)
    return tuple(next(filter(None, found), ()))


def _known_method(trial: Trial, methods: Sequence[str]) -> str:
    if trial.method not in methods:
        raise DataError(
            f"There is a record of {trial.method}, which is no method of this study; its methods "
            f"are {', '.join(methods)}."
        )
    return trial.method


def _variant_rows(study: Study, trials: Sequence[Trial]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each experiment with a cell per variant, the best one in bold."""
    for experiment in study.experiments:
        gains = gains_of(study, experiment, trials)
        best = best_variant(gains)
        cells = []
        for variant in study.variants:
            cell = "-"
            if variant in gains:
                goal, deals = gains[variant]
                seeds = sum(trial.method == f"{experiment}-{variant}" for trial in trials)
                cell = f"{goal:+.2f} ({deals:+.3f}{f'; {seeds} seeds' if seeds > 1 else ''})"
            cells.append(f"**{cell}**" if variant == best else cell)
        yield experiment, tuple(cells)


def gains_of(
    study: Study, experiment: str, trials: Sequence[Trial]
) -> dict[str, tuple[float, float]]:
    """Compute what each variant of an experiment gains over bc, for the variants that were run.

    Returns:
        By variant: the gain in goal, as a mean over partners, and in the deal rate in self-play.
    """
    gains = {}
    for variant in study.variants:
        own = [trial for trial in trials if trial.method == f"{experiment}-{variant}"]
        if own:
            goals = [mean_gain(own, partner, "goal") for partner in own[0].values[TRAINED]]
            gains[variant] = (sum(goals) / len(goals), mean_gain(own, "self", "deal_rate"))
    return gains


def best_variant(gains: Mapping[str, tuple[float, float]]) -> str | None:
    """Choose the variant with the largest gain in goal among those that lose few deals.

    If all lose more than `MOST_DEALS_LOST`, choose the one that loses fewest.
    """
    if not gains:
        return None
    few = {name: goal for name, (goal, deals) in gains.items() if deals >= -MOST_DEALS_LOST}
    return max(few, key=few.__getitem__) if few else max(gains, key=lambda name: gains[name][1])


def _score_rows(study: Study, comparison: Mapping[str, Any]) -> Iterator[ScoreRow]:
    measured = comparison["partners"].get("self", {})
    for name in study.experiments:
        if name in measured:
            goal, relationship = (
                measured[name][metric]["value"]["mean"] for metric in ("goal", "relationship")
            )
            published = "/".join(f"{score:.2f}" for score in study.published.get(name, ())) or "-"
            yield ScoreRow(name, published, f"{goal:.2f}/{relationship:.2f}")


def _run_line(file: Path) -> RunLine:
    record = read_json(file)
    commits = ", ".join(_short_commit(commit) for commit in record["commits"])
    return RunLine(record["command"], commits, f"{record['wall_s'] / 60:.0f}")


def _short_commit(commit: str) -> str:
    return commit[:10] + "".join(commit.partition("+")[1:])
