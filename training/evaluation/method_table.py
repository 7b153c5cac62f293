"""Methods side by side: runs of several seeds together, as means over seeds and scenarios.

Runs that differ in nothing but the seed are one method. Intervals are over scenarios and seeds
together: both are drawn again (`training.evaluation.statistics`). A method's gain is held to the
clone of the same seed, its lead to another method on the seeds that both have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from envs.errors import DataError
from training.evaluation.forest_plot import forest
from training.evaluation.statistics import Stat, crossed_bootstrap
from training.evaluation.tables import difference, markdown_cell, number
from training.evaluation.trials import KEPT, Trial
from training.storage.files import to_json
from training.storage.run import CLONE, IMMATERIAL, TRAINED, with_defaults

TABLE, PICTURE, DATA = "methods.md", "methods.svg", "methods.json"
_NAN = float("nan")

INTERVALS = (
    "Means over seeds and scenarios with 95 % intervals by bootstrap over both (seeds and "
    "scenarios are drawn again independently); bold where an interval leaves out 0. With few "
    "seeds such an interval is somewhat too narrow, and with one it is over scenarios alone."
)


@dataclass(frozen=True, slots=True)
class Method:
    """The runs of one method, each with another seed, ascending."""

    name: str
    trials: tuple[Trial, ...]


def grouped(trials: Iterable[Trial]) -> list[Method]:
    """Runs by method, in the order in which methods first appear.

    Methods of one name that differ in options have these behind their names.

    Raises:
        DataError: a method has two runs with the same seed, or runs were evaluated on other
            scenarios than the first.
    """
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        found.setdefault(to_json([trial.method, _options(trial)]), []).append(trial)
    methods = []
    for runs in found.values():
        seeds = [trial.seed for trial in runs]
        if len(set(seeds)) < len(seeds):
            raise DataError(
                f"{runs[0].method} was run more than once with seed {_twice(seeds)}; give each "
                "run once."
            )
        methods.append(Method(runs[0].method, tuple(sorted(runs, key=lambda trial: trial.seed))))
    _check_scenarios(methods)
    return [Method(_told_apart(method, methods), method.trials) for method in methods]


def compare_methods(methods: Sequence[Method], *, seed: int = 0) -> dict[str, Any]:
    """Every kept metric of every method against every partner.

    Returns:
        {"lead_over": NAME, "partners": {PARTNER: {METHOD: {METRIC: {"value", "gain", "lead"}}}},
        "runs": {METHOD: {...}}} with a STAT each: `value` of the trained policy, `gain` over its
        clone, `lead` over the first method; a STAT of no values where there is nothing to hold it
        to.
    """
    first = methods[0]
    partners = list(first.trials[0].values[TRAINED])
    return {
        "lead_over": first.name,
        "partners": {
            partner: {
                method.name: {
                    metric: _stats(method, first, partner, metric, seed) for metric in KEPT
                }
                for method in methods
                if all(partner in trial.values[TRAINED] for trial in method.trials)
            }
            for partner in partners
        },
        "runs": {method.name: _runs(method) for method in methods},
    }


def mean_gain(trials: Sequence[Trial], partner: str, metric: str) -> float:
    """What runs of a method gain over their clones, mean over seeds and scored scenarios."""
    own, clone = (_rows(trials, policy, partner, metric) for policy in (TRAINED, CLONE))
    return float(np.nanmean(_minus(own, clone)))


def _stats(
    method: Method, first: Method, partner: str, metric: str, seed: int
) -> dict[str, dict[str, object]]:
    own = _rows(method.trials, TRAINED, partner, metric)
    clone = _rows(method.trials, CLONE, partner, metric)
    others = {trial.seed: trial for trial in first.trials}
    both = [trial for trial in method.trials if trial.seed in others and method != first]
    lead = _minus(
        _rows(both, TRAINED, partner, metric),
        _rows([others[trial.seed] for trial in both], TRAINED, partner, metric),
    )
    tables = {"value": own, "gain": _minus(own, clone), "lead": lead}
    return {name: _stat(rows, seed).as_dict() for name, rows in tables.items()}


def _stat(rows: list[list[float]], seed: int) -> Stat:
    return crossed_bootstrap(rows, seed=seed) if rows else Stat(None, None, 0)


def _rows(trials: Sequence[Trial], policy: str, partner: str, metric: str) -> list[list[float]]:
    """One row a seed, one column a scenario; NaN where nothing was measured."""
    rows = []
    for trial in trials:
        column = trial.values.get(policy, {}).get(partner, {}).get(metric)
        cells = [None] * len(trial.scenarios) if column is None else column
        rows.append([_NAN if cell is None else cell for cell in cells])
    return rows


def _minus(after: list[list[float]], before: list[list[float]]) -> list[list[float]]:
    return [
        [a - b for a, b in zip(new, old, strict=True)]
        for new, old in zip(after, before, strict=True)
    ]


def _runs(method: Method) -> dict[str, Any]:
    trials = method.trials
    return {
        "seeds": [trial.seed for trial in trials],
        "sampled_tokens": sum(t.sampled_tokens for t in trials) / len(trials),
        "update_steps": sum(t.update_steps for t in trials) / len(trials),
        "examples": sum(t.examples for t in trials) / len(trials),
        "stopped_early": sum(t.stopped_early for t in trials),
        "wall_s": sum(t.wall_s for t in trials) / len(trials),
    }


def markdown(comparison: Mapping[str, Any]) -> str:
    """A table a partner, a row a method; then what each method was given."""
    lines: list[str] = []
    for partner, found in comparison["partners"].items():
        lines += [f"### Partner: {partner}", "", *_partner_lines(comparison, found), ""]
    lines += ["### What each was given", ""]
    lines += [
        "| method | seeds | tokens sampled | update steps | examples | updates stopped by drift |"
    ]
    lines += ["|---|---|---|---|---|---|"]
    for name, runs in comparison["runs"].items():
        lines.append(
            f"| {name} | {', '.join(map(str, runs['seeds']))} | {runs['sampled_tokens']:,.0f} | "
            f"{runs['update_steps']:.0f} | {runs['examples']:.0f} | {runs['stopped_early']} |"
        )
    return "\n".join([*lines, "", INTERVALS, ""])


def _partner_lines(comparison: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    lead_over = comparison["lead_over"]
    lines = [
        f"| method | goal | over the clone | over {lead_over} | relationship | partner's goal "
        "| joint welfare | deal rate | words a turn |",
        "|---" * 9 + "|",
    ]
    for name, stats in found.items():
        goal = stats["goal"]
        cells = [markdown_cell(goal["value"], ".2f"), markdown_cell(goal["gain"], "+.2f")]
        cells.append(markdown_cell(goal["lead"], "+.2f"))
        cells.append(markdown_cell(stats["relationship"]["value"], ".2f"))
        cells += [markdown_cell(stats[metric]["gain"], spec) for metric, spec in _GAINS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


_GAINS = (
    ("partner_goal", "+.2f"),
    ("joint_welfare", "+.3f"),
    ("deal_rate", "+.3f"),
    ("words_per_turn", "+.2f"),
)
"""Shown as gains over the clone."""


def picture(comparison: Mapping[str, Any], metric: str = "goal") -> str:
    """Each method's gain over its clone as a forest plot, SVG."""
    partners = {
        partner: {
            "paired": {name: {metric: stats[metric]["gain"]} for name, stats in found.items()}
        }
        for partner, found in comparison["partners"].items()
    }
    return forest({"baseline": "clone", "partners": partners}, metric)


def show(console: Console, comparison: Mapping[str, Any]) -> None:
    """Print a table a partner."""
    for partner, found in comparison["partners"].items():
        table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        heads = ("", "seeds", "goal", "over clone", f"over {comparison['lead_over']}", "deals")
        for head in heads:
            table.add_column(head, justify="right" if head else "left")
        for name, stats in found.items():
            goal = stats["goal"]
            table.add_row(
                escape(name),
                str(len(comparison["runs"][name]["seeds"])),
                number(goal["value"]),
                difference(goal["gain"]),
                difference(goal["lead"]),
                number(stats["deal_rate"]["value"]),
            )
        console.print(f"partner: [bold]{escape(partner)}[/bold]", table, sep="\n")


def _options(trial: Trial) -> dict[str, Any]:
    """What makes a method: its options without the seed and without what changes nothing.

    Options that the run is older than have their defaults.
    """
    left_out = IMMATERIAL - {"iterations"} | {"seed"}
    options = sorted(with_defaults(trial.config).items())
    return {name: value for name, value in options if name.split(".")[0] not in left_out}


def _told_apart(method: Method, methods: Sequence[Method]) -> str:
    """The method's name, with the options that others of this name have otherwise."""
    same = [_options(m.trials[0]) for m in methods if m.name == method.name]
    if len(same) == 1:
        return method.name
    own = _options(method.trials[0])
    names = sorted({name for options in same for name in options})
    other = [n for n in names if len({to_json(options.get(n)) for options in same}) > 1]
    return f"{method.name} {' '.join(f'{n}={to_json(own.get(n))}' for n in other)}"


def _check_scenarios(methods: Sequence[Method]) -> None:
    first = methods[0].trials[0]
    for trial in (trial for method in methods for trial in method.trials):
        if trial.scenarios != first.scenarios:
            raise DataError(
                f"{trial.method} with seed {trial.seed} was evaluated on other scenarios than "
                f"{first.method} with seed {first.seed}; evaluate both with the same options."
            )


def _twice(seeds: list[int]) -> int:
    return next(seed for seed in seeds if seeds.count(seed) > 1)
