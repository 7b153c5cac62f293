"""Writes the report: a run as one HTML page without scripts or outside files.

It reads summary.json, metrics.jsonl and the store, and works while the run continues. A line of
metrics.jsonl may hold {"evaluation": {PARTNER: {METRIC: STAT}}, "update": {NAME: NUMBER}};
summary.json may hold {"acceptance": {POLICY: {"bins": [...], "accept": [STAT, ...]}}}, where bins
are edges or centres.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from envs.errors import ConfigError, DataError
from training.evaluation.alarms import run_alarms
from training.evaluation.evaluated_policies import policy_name
from training.evaluation.table_cells import HEADLINE
from training.report import excerpts
from training.report.charts import (
    UPDATE_CHARTS,
    acceptance_chart,
    evaluation_charts,
    other_updates,
    update_charts,
)
from training.report.result_tables import (
    Subset,
    drop_table,
    other_metrics,
    partner_tables,
    verdict,
)
from training.storage.files import read_json, write_text
from training.storage.run_files import (
    CONFIG,
    MEASURES,
    REPORT,
    STORE,
    SUMMARY,
    metrics_in,
    result_fault,
)
from training.storage.run_options import read_config
from training.storage.store import Store

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(run_dir: Path | str) -> Path:
    """Write a run's report.html, replacing an older one, and return its path.

    Raises:
        ConfigError: the folder is not a run.
        StoreError: its store cannot be read.
    """
    folder = Path(run_dir).resolve()
    config = folder / CONFIG
    if not config.is_file():
        raise ConfigError(
            f"{folder} is not a run, for it has no {CONFIG}: name the folder of a run, "
            "such as outputs/latest."
        )
    with Store.read_only(folder / STORE) as store:
        summary, metrics, faults = _results(store, folder)
        others = other_metrics(summary)
        page = (
            _environment()
            .get_template("report.html.j2")
            .render(
                name=folder.name,
                title=_title(folder, read_config(config)),
                verdict=verdict(summary),
                summary=summary,
                faults=faults,
                iterations_done=max((record["iteration"] for record in metrics), default=None),
                headline=HEADLINE,
                tables=partner_tables(summary, HEADLINE),
                subsets=[
                    Subset(subset, part["scenarios"], partner_tables(part, HEADLINE))
                    for subset, part in summary.get("subsets", {}).items()
                    if part["scenarios"] != summary["scenarios"]  # else it repeats the tables above
                ],
                others=others,
                other_tables=partner_tables(summary, others),
                charts=evaluation_charts(metrics),
                update_charts=update_charts(metrics, UPDATE_CHARTS),
                other_update_charts=update_charts(metrics, other_updates(metrics)),
                acceptance=acceptance_chart(summary),
                drops=drop_table(store.drops()),
                groups=excerpts.groups(store),
                comparisons=excerpts.comparisons(store),
                samples=[*excerpts.collected(store), *excerpts.evaluated(store)],
                config=config.read_text(encoding="utf-8"),
            )
        )
    report = folder / REPORT
    write_text(report, page.lstrip())
    return report


def _title(folder: Path, options: Mapping[str, Any]) -> str:
    """The method, seed and model, as tables of comparisons name them; else the folder's name."""
    with suppress(KeyError, TypeError):  # of a release that had other options
        return policy_name(folder, options).said
    return f"Run {folder.name}"


def _results(store: Store, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """A run's summary and metrics as far as they can be read, and what a reader must be told."""
    faults = [fault for name in (SUMMARY, MEASURES) if (fault := result_fault(store, folder, name))]
    summary, metrics = {}, []
    with suppress(OSError, ValueError):
        summary = read_json(folder / SUMMARY)
    try:
        metrics = metrics_in(store, folder)
    except DataError as error:
        faults.append(str(error))
    if not summary:  # which repeats them
        faults += run_alarms(metrics)
    if not store.has_digests:
        faults.append(
            "The store was made by a release without digests, so damage to it is not noticed."
        )
    return summary if isinstance(summary, dict) else {}, metrics, faults


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,  # dialogues are written by models: never trust them as HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = lambda name: str(name).replace("_", " ")
    environment.filters["code"] = _code
    return environment


def _code(text: str) -> Markup:
    """Escape a text as HTML, and mark what is between backticks as code."""
    return Markup(re.sub(r"`([^`<>]+)`", r"<code>\1</code>", str(escape(text))))
