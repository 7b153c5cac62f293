"""Plays held-out scenarios: the episodes that policies are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from agents.base import Player
from envs.types import Scenario
from training.evaluation.outcomes import Outcome, statistics
from training.play.context import NAMED, POLICY, SELF, PlayContext
from training.play.rollout import EpisodePlan, episode_seed
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
    """Play scenarios against each partner.

    Args:
        name: the policy's name in the store.
        both_seats, episodes: see `evaluation_plans`.

    Returns:
        Outcomes by the partner's role, or by its model if it is a model.
    """
    outcomes: dict[str, Outcome] = {}
    for role in context.partners:
        opponent = policy if role == SELF else context.players[role]
        partner = opponent.id if role in NAMED else role
        plans, seats = evaluation_plans(
            policy,
            opponent,
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
    """Measure the policy on a few dev scenarios: one point of the learning curves."""
    count = context.config.evaluation.curve_scenarios
    scenarios = context.config.env.draw("dev", count)
    outcomes = evaluate(context, "curve", context.players[POLICY], scenarios, iteration, progress)
    return {
        partner: statistics(outcome, seed=context.config.seed)
        for partner, outcome in outcomes.items()
    }


def evaluation_plans(
    policy: Player,
    partner: Player,
    partner_name: str,
    scenarios: Sequence[Scenario],
    *,
    seed: int,
    both_seats: bool = False,
    episodes: int = 1,
) -> tuple[list[EpisodePlan], tuple[tuple[int, ...], ...]]:
    """Plan the episodes of a policy against a partner on some scenarios.

    In self-play the policy holds both seats. Against another partner its seat alternates from
    scenario to scenario; with `both_seats` it plays each scenario from seat 0 and from seat 1.
    Scenarios, seats and seeds do not depend on the policy, so that policies can be compared in
    pairs.

    Args:
        seed: the run's seed, from which each episode's is derived.
        episodes: how often each scenario is played from each seat, with different seeds.

    Returns:
        The plans, and the seats that the policy holds in each.
    """
    is_played_from_both = both_seats and partner_name != SELF
    plans: list[EpisodePlan] = []
    held: list[tuple[int, ...]] = []
    for n, scenario in enumerate(scenarios):
        for seats, repeat in product(_seats(n, partner_name, both_seats), range(episodes)):
            # The first episode has no suffix, so it is the same for any number of episodes.
            suffix = (f"again{repeat}",) if repeat else ()
            key = (partner_name, scenario.id, *(seats if is_played_from_both else ()), *suffix)
            plans.append(
                EpisodePlan(
                    id="/".join(map(str, key)),
                    scenario=scenario,
                    players=tuple(policy if seat in seats else partner for seat in (0, 1)),
                    seed=episode_seed(seed, "evaluate", *key),
                )
            )
            held.append(seats)
    return plans, tuple(held)


def _seats(n: int, partner_name: str, both_seats: bool) -> list[tuple[int, ...]]:
    """The seats that the policy holds in each episode of scenario number `n`."""
    if partner_name == SELF:
        return [(0, 1)]
    return [(0,), (1,)] if both_seats else [(n % 2,)]
