"""Compares methods over training runs: seeds of a method are averaged, with intervals.

Runs that differ only in the seed belong to one method. Intervals are over scenarios and seeds
together (`training.evaluation.statistics.crossed_bootstrap`). A method's gain is relative to bc,
the behaviour-cloned policy, of the same seed; its lead over another method uses the seeds that
both have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.errors import DataError
from training.evaluation.statistics import Stat, crossed_bootstrap
from training.evaluation.trials import KEPT, Trial
from training.storage.files import to_json
from training.storage.run_files import BC, TRAINED
from training.storage.run_options import IMMATERIAL_OPTIONS, with_defaults

_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Method:
    """A method and its training runs, one per seed, in order of the seed."""

    name: str
    trials: tuple[Trial, ...]


def group_by_method(trials: Iterable[Trial]) -> list[Method]:
    """Group runs by method, in the order in which methods first appear.

    Methods with the same name but different options get these options appended to their names.

    Raises:
        DataError: a method has two runs with the same seed, or runs were not all evaluated on
            the same scenarios.
    """
    by_options: dict[str, list[Trial]] = {}
    for trial in trials:
        by_options.setdefault(to_json([trial.method, _options(trial)]), []).append(trial)
    methods = []
    for runs in by_options.values():
        seeds = [trial.seed for trial in runs]
        if len(set(seeds)) < len(seeds):
            raise DataError(
                f"{runs[0].method} was run more than once with seed {_first_repeated(seeds)}; give "
                "each run once."
            )
        methods.append(Method(runs[0].method, tuple(sorted(runs, key=lambda trial: trial.seed))))
    _check_scenarios(methods)
    return [Method(_distinct_name(method, methods), method.trials) for method in methods]


def compare_methods(methods: Sequence[Method], *, seed: int = 0) -> dict[str, Any]:
    """Compare methods in every kept metric, against every partner.

    Args:
        methods: the first is the one that leads are measured over.
        seed: of the bootstrap.

    Returns:
        {"lead_over": NAME, "partners": {PARTNER: {METHOD: {METRIC: {"value", "gain", "lead"}}}},
        "runs": {METHOD: {...}}}. Each of the three is a STAT: `value` of the trained policy,
        `gain` over bc, `lead` over the first method. It is a STAT of no values if there is nothing
        to compare with.
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
    """The mean gain of a method's runs over bc, over seeds and scored scenarios."""
    own, bc = (_rows(trials, policy, partner, metric) for policy in (TRAINED, BC))
    return float(np.nanmean(_minus(own, bc)))


def _stats(
    method: Method, first: Method, partner: str, metric: str, seed: int
) -> dict[str, dict[str, object]]:
    own = _rows(method.trials, TRAINED, partner, metric)
    bc = _rows(method.trials, BC, partner, metric)
    others = {trial.seed: trial for trial in first.trials}
    both = [trial for trial in method.trials if trial.seed in others and method != first]
    lead = _minus(
        _rows(both, TRAINED, partner, metric),
        _rows([others[trial.seed] for trial in both], TRAINED, partner, metric),
    )
    tables = {"value": own, "gain": _minus(own, bc), "lead": lead}
    return {name: _stat(rows, seed).as_dict() for name, rows in tables.items()}


def _stat(rows: list[list[float]], seed: int) -> Stat:
    return crossed_bootstrap(rows, seed=seed) if rows else Stat(None, None, 0)


def _rows(trials: Sequence[Trial], policy: str, partner: str, metric: str) -> list[list[float]]:
    """One row per seed, one column per scenario; NaN where nothing was measured."""
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


def _options(trial: Trial) -> dict[str, Any]:
    """The options that define a method: without the seed, and without immaterial ones.

    Options added since the run was made have their defaults.
    """
    left_out = IMMATERIAL_OPTIONS - {"iterations"} | {"seed"}
    options = sorted(with_defaults(trial.config).items())
    return {name: value for name, value in options if name.split(".")[0] not in left_out}


def _distinct_name(method: Method, methods: Sequence[Method]) -> str:
    """The method's name, plus the options in which methods of the same name differ."""
    same = [_options(m.trials[0]) for m in methods if m.name == method.name]
    if len(same) == 1:
        return method.name
    own = _options(method.trials[0])
    names = sorted({name for options in same for name in options})
    differing = [n for n in names if len({to_json(options.get(n)) for options in same}) > 1]
    return f"{method.name} {' '.join(f'{n}={to_json(own.get(n))}' for n in differing)}"


def _check_scenarios(methods: Sequence[Method]) -> None:
    first = methods[0].trials[0]
    for trial in (trial for method in methods for trial in method.trials):
        if trial.scenarios != first.scenarios:
            raise DataError(
                f"{trial.method} with seed {trial.seed} was evaluated on other scenarios than "
                f"{first.method} with seed {first.seed}; evaluate both with the same options."
            )


def _first_repeated(seeds: list[int]) -> int:
    return next(seed for seed in seeds if seeds.count(seed) > 1)
