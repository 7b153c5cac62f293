"""The final comparison of a run: the trained policy beside its clone and a stubborn control."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from training.evaluate import Outcome, by_family, paired_statistics, statistics
from training.furnish import FROZEN, POLICY, STUBBORN, Parts
from training.measures import acceptance_curve
from training.steps import evaluate
from training.waves import Progress


def summarise(
    parts: Parts, iteration: int, wall_s: Mapping[str, float], progress: Progress
) -> dict[str, Any]:
    """Evaluate clone, trained policy and control on held-out scenarios and compare them in pairs.

    Returns:
        What `summary.json` holds; `paired` is final minus bc on the same scenarios and seats, and
        empty where there is no clone.
    """
    started = time.monotonic()
    policies = {"bc": FROZEN, "final": POLICY, "stubborn": STUBBORN}
    config, seed = parts.config.evaluation, parts.config.seed
    outcomes = {
        name: evaluate(
            parts, name, parts.players[player], config.split, config.scenarios, iteration, progress
        )
        for name, player in policies.items()
        if player in parts.players
    }
    return {
        "split": config.split,
        "scenarios": config.scenarios,
        "iterations": iteration,
        "policies": {
            name: {partner: statistics(outcome, seed=seed) for partner, outcome in found.items()}
            for name, found in outcomes.items()
        },
        "paired": _differences(outcomes["final"], outcomes.get("bc", {}), seed),
        "paired_to": {
            name: _differences(outcomes["final"], found, seed)
            for name, found in outcomes.items()
            if name not in ("final", "bc")
        },
        "families": {
            name: {partner: by_family(outcome, seed=seed) for partner, outcome in found.items()}
            for name, found in outcomes.items()
        },
        "acceptance": {
            name: acceptance_curve(
                [held for outcome in found.values() for held in outcome.held()], seed=seed
            )
            for name, found in outcomes.items()
        },
        "unscored": sum(o.unscored for found in outcomes.values() for o in found.values()),
        "wall_s": {**wall_s, "evaluate": time.monotonic() - started},
    }


def _differences(
    after: Mapping[str, Outcome], before: Mapping[str, Outcome], seed: int
) -> dict[str, dict[str, object]]:
    return {p: paired_statistics(after[p], found, seed=seed) for p, found in before.items()}
