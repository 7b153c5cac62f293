"""Playing held-out scenarios: the episodes that policies are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.base import Player
from envs.types import Scenario
from training.evaluation.outcomes import Outcome, evaluation_plans, statistics
from training.play.context import NAMED, POLICY, SELF, PlayContext
from training.play.waves import Progress, play_in_waves


def evaluate(
    context: PlayContext,
    name: str,
    policy: Player,
    scenarios: Sequence[Scenario],
    iteration: int,
    progress: Progress,
    *,
    both_seats: bool = False,
    episodes: int = 1,
) -> dict[str, Outcome]:
    """Play held-out scenarios against each partner; outcomes by its role or model."""
    outcomes: dict[str, Outcome] = {}
    for role in context.partners:
        sparring = policy if role == SELF else context.players[role]
        partner = sparring.id if role in NAMED else role
        plans, seats = evaluation_plans(
            policy,
            sparring,
            partner,
            scenarios,
            seed=context.config.seed,
            both_seats=both_seats,
            episodes=episodes,
        )
        played = play_in_waves(context, f"evaluate-{name}-{partner}", iteration, plans, progress)
        outcomes[partner] = Outcome(tuple(played), seats)
    return outcomes


def curve_point(context: PlayContext, iteration: int, progress: Progress) -> dict[str, Any]:
    """The policy's statistics on a few dev scenarios, for the learning curves."""
    count = context.config.evaluation.curve_scenarios
    scenarios = context.config.env.draw("dev", count)
    outcomes = evaluate(context, "curve", context.players[POLICY], scenarios, iteration, progress)
    return {
        partner: statistics(outcome, seed=context.config.seed)
        for partner, outcome in outcomes.items()
    }
