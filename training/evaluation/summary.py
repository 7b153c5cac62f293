"""The final comparison of a run: the trained policy, bc, and a stubborn control policy."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from envs.social import Order
from training.evaluation.acceptance import acceptance_curve
from training.evaluation.alarms import (
    ALARM,
    Outcomes,
    invalid_turns,
    lost_deals,
    near_misses,
    run_alarms,
    scored_alike,
)
from training.evaluation.episodes import evaluate
from training.evaluation.held_out import HeldOut
from training.evaluation.outcomes import Outcome, by_family, paired_statistics, statistics
from training.play.context import FROZEN, POLICY, STUBBORN, PlayContext
from training.play.waves import Progress
from training.storage.run_files import BC, TRAINED


def summarise(
    context: PlayContext,
    held_out: HeldOut,
    iteration: int,
    wall_s: Mapping[str, float],
    progress: Progress,
) -> dict[str, Any]:
    """Evaluate all policies of a run on held-out scenarios and compare them in pairs.

    The policies are bc (behaviour-cloned), final (trained) and stubborn (bc, less willing to
    accept). Metrics of every scenario are written to measures.json, for `training.compare`.

    Args:
        wall_s: seconds that this process has spent so far, by kind of work.

    Returns:
        The content of summary.json. `paired` is final minus bc on the same scenarios and seats; it
        is empty if the run has no bc.
    """
    started = time.monotonic()
    policies = {BC: FROZEN, TRAINED: POLICY, "stubborn": STUBBORN}
    seed = context.config.seed
    outcomes: Outcomes = {
        name: evaluate(
            context,
            name,
            context.players[player],
            held_out.scenarios,
            iteration,
            progress,
            both_seats=held_out.both_seats,
            episodes=held_out.episodes,
        )
        for name, player in policies.items()
        if player in context.players
    }
    calls = context.remote.totals() if context.remote else None
    context.run.write_measures(
        {
            name: {partner: outcome.measures() for partner, outcome in found.items()}
            for name, found in outcomes.items()
        }
    )
    return {
        "protocol": held_out.protocol,
        "order": context.config.env.order,
        "difficulty": context.config.env.difficulty,
        "split": held_out.split,
        "scenarios": len(held_out.scenarios),
        "iterations": iteration,
        **_statistics(outcomes, seed),
        "subsets": {
            name: {"scenarios": len(ids), **_statistics(_only(outcomes, ids), seed)}
            for name, ids in held_out.subsets.items()
        },
        "families": {
            name: {partner: by_family(outcome, seed=seed) for partner, outcome in found.items()}
            for name, found in outcomes.items()
        },
        "acceptance": {
            name: acceptance_curve(
                [held for outcome in found.values() for held in outcome.held()],
                seed=seed,
                seats_a_round=2 if context.rules.order is Order.SIMULTANEOUS else 1,
            )
            for name, found in outcomes.items()
        },
        "notes": [
            *context.notes,
            *run_alarms(context.run.metrics()),
            *scored_alike(outcomes),
            *lost_deals(outcomes),
            *_why_unscored(outcomes),
            *invalid_turns(outcomes),
            *near_misses(outcomes),
            *([f"Behind APIs: {calls.describe()}."] if calls else []),
        ],
        "api": calls.as_dict() if calls else None,
        "unscored": sum(o.unscored for found in outcomes.values() for o in found.values()),
        "wall_s": context.run.times(
            {**wall_s, "evaluate": wall_s.get("evaluate", 0.0) + time.monotonic() - started}
        ),
    }


def _why_unscored(outcomes: Outcomes) -> list[str]:
    """A note on how many episodes have no scores, with the most frequent reason."""
    reasons = Counter(
        "; ".join(played.judgement.reasons) or "no reason was given"
        for found in outcomes.values()
        for outcome in found.values()
        for played in outcome.episodes
        if not played.judgement.is_scored
    )
    if not reasons:
        return []
    ((reason, count),) = reasons.most_common(1)
    passing = sum(
        played.judgement.may_pass
        for found in outcomes.values()
        for outcome in found.values()
        for played in outcome.episodes
    )
    played = sum(len(o.episodes) for found in outcomes.values() for o in found.values())
    return [
        f"Unscored episodes: {reasons.total()}, of which {count} for this reason: {reason}",
        *([f"{ALARM}no episode was scored, so this is no result."] * (reasons.total() == played)),
        *([_again(passing)] if passing else []),
    ]


def _again(passing: int) -> str:
    return (
        f"A server's failure left {passing} of them unscored; the same command with resume=RUN "
        "tries these again, and nothing else."
    )


def _statistics(outcomes: Outcomes, seed: int) -> dict[str, Any]:
    """Each policy's statistics, the paired differences, and the counts of unscored episodes."""
    return {
        "policies": {
            name: {partner: statistics(outcome, seed=seed) for partner, outcome in found.items()}
            for name, found in outcomes.items()
        },
        "paired": _differences(outcomes[TRAINED], outcomes.get(BC, {}), seed),
        "paired_to": {
            name: _differences(outcomes[TRAINED], found, seed)
            for name, found in outcomes.items()
            if name not in (TRAINED, BC)
        },
        "episodes": {
            name: {
                partner: {"played": len(outcome.episodes), "unscored": outcome.unscored}
                for partner, outcome in found.items()
            }
            for name, found in outcomes.items()
        },
    }


def _only(outcomes: Outcomes, scenario_ids: frozenset[str]) -> Outcomes:
    return {
        name: {partner: outcome.of(scenario_ids) for partner, outcome in found.items()}
        for name, found in outcomes.items()
    }


def _differences(
    after: Mapping[str, Outcome], before: Mapping[str, Outcome], seed: int
) -> dict[str, dict[str, object]]:
    return {p: paired_statistics(after[p], found, seed=seed) for p, found in before.items()}
