"""Compares any number of finished evaluations, paired on the scenarios that they share.

The first policy is the baseline; differences are the others minus it. Scenarios, seats and seeds
of an evaluation do not depend on its policy, so evaluations made on different days can be paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envs.errors import DataError
from training.evaluation.comparison_table import markdown
from training.evaluation.evaluated_policies import EvaluatedPolicy, read_policies
from training.evaluation.forest_plot import forest_plot
from training.evaluation.outcomes import paired_statistics_of, statistics_of
from training.storage.files import to_json, write_text

TABLE, PLOT, DATA = "comparison.md", "comparison.svg", "comparison.json"
ALL_POLICIES = "all of this evaluation"
"""The name under which an evaluation's cost is listed when it is not known per policy."""


def compare(policies: Sequence[EvaluatedPolicy], *, seed: int) -> dict[str, Any]:
    """Compare policies in every metric, against every partner that all of them have met.

    Args:
        policies: the baseline first.
        seed: of the bootstrap.

    Returns:
        {"baseline": NAME, "partners": {PARTNER: {"policies": {NAME: {METRIC: STAT}}, "paired":
        {NAME: {METRIC: STAT}}, "episodes": {NAME: {"played", "unscored"}}}}, "cost_usd": {NAME:
        NUMBER or null}, "uncertain_usd": {NAME: NUMBER}, "folders": {NAME: FOLDER}}; "paired"
        holds the policy minus the baseline.

    Raises:
        DataError: the policies have no partner in common.
    """
    baseline, *others = policies
    shared = [name for name in baseline.measures if all(name in p.measures for p in others)]
    if not shared:
        raise DataError(
            "The evaluations share no partner ("
            + "; ".join(f"{p.name}: {', '.join(p.measures)}" for p in policies)
            + "); evaluate them against the same ones."
        )
    return {
        "baseline": baseline.name,
        "partners": {
            partner: {
                "policies": {
                    p.name: statistics_of(p.measures[partner], seed=seed) for p in policies
                },
                "paired": {
                    p.name: paired_statistics_of(
                        p.measures[partner], baseline.measures[partner], seed=seed
                    )
                    for p in others
                },
                "episodes": {p.name: dict(p.episodes[partner]) for p in policies},
            }
            for partner in shared
        },
        "cost_usd": {p.name: p.cost_usd for p in policies},
        "uncertain_usd": {p.name: p.uncertain_usd for p in policies},
        "folders": {p.name: str(p.folder) for p in policies},
    }


def compare_within(folder: Path) -> dict[str, Any]:
    """Compare the policies of one evaluation; the baseline is bc if it was evaluated.

    The cost of API calls is known only for all policies together.
    """
    policies = list(read_policies(folder).values())
    first = policies[0]
    return compare(policies, seed=int(first.config["seed"])) | {
        "cost_usd": {ALL_POLICIES: first.cost_usd},
        "uncertain_usd": {ALL_POLICIES: first.uncertain_usd},
        "folders": {ALL_POLICIES: str(first.folder)},
    }


def write_comparison(comparison: Mapping[str, Any], folder: Path) -> None:
    """Write a comparison as JSON, as a Markdown table and as a forest plot of the goal."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / DATA, to_json(comparison, indent=2) + "\n")
    write_text(folder / TABLE, markdown(comparison))
    write_text(folder / PLOT, forest_plot(comparison, "goal"))
