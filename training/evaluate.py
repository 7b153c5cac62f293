"""Evaluation: policies against fixed partners on held-out scenarios, paired across policies.

python -m training.evaluate policy.name=outputs/latest/checkpoints/0008
"""

from __future__ import annotations

from training.cli import run

if __name__ == "__main__":
    run("training.contest:evaluate_checkpoint")  # checks all options, and only then imports torch

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from agents.base import Player
from envs.types import Scenario
from training.measures import Measures, mean_measures, measure
from training.records import PlayedEpisode
from training.rollout import EpisodePlan, episode_seed
from training.statistics import bootstrap, paired_bootstrap

SELF = "self"
RESAMPLES = 4000


@dataclass(frozen=True, slots=True)
class Outcome:
    """One policy against one partner: the episodes, and the seats that the policy held in each."""

    episodes: tuple[PlayedEpisode, ...]
    seats: tuple[tuple[int, ...], ...]

    def measures(self) -> dict[str, Measures]:
        """The mean over the policy's seats of each scored episode, by scenario id."""
        return {
            played.episode.scenario.id: mean_measures([measure(played, seat) for seat in seats])
            for played, seats in zip(self.episodes, self.seats, strict=True)
            if played.judgement.is_scored
        }

    def held(self) -> list[tuple[PlayedEpisode, int]]:
        """Every (episode, seat) that the policy played."""
        return [
            (played, seat)
            for played, seats in zip(self.episodes, self.seats, strict=True)
            for seat in seats
        ]

    @property
    def unscored(self) -> int:
        return sum(not played.judgement.is_scored for played in self.episodes)


def evaluation_plans(
    policy: Player, partner: Player, partner_name: str, scenarios: Sequence[Scenario], *, seed: int
) -> tuple[list[EpisodePlan], tuple[tuple[int, ...], ...]]:
    """One episode a scenario; the policy holds both seats against itself, else every other one.

    Scenarios, seats and seeds do not depend on the policy, so that policies can be compared in
    pairs.
    """
    plans: list[EpisodePlan] = []
    seats: list[tuple[int, ...]] = []
    for n, scenario in enumerate(scenarios):
        seat = n % 2
        players = (policy, policy) if partner_name == SELF else _seated(policy, partner, seat)
        plans.append(
            EpisodePlan(
                id=f"{partner_name}/{scenario.id}",
                scenario=scenario,
                players=players,
                seed=episode_seed(seed, "evaluate", partner_name, scenario.id),
            )
        )
        seats.append((0, 1) if partner_name == SELF else (seat,))
    return plans, tuple(seats)


def statistics(outcome: Outcome, *, seed: int) -> dict[str, object]:
    """Every metric as {"mean", "ci95", "n"}, intervals by bootstrap over scenarios."""
    return _per_metric(list(outcome.measures().values()), seed=seed)


def paired_statistics(after: Outcome, before: Outcome, *, seed: int) -> dict[str, object]:
    """Every metric's difference on the scenarios that both policies were scored on."""
    old, new = before.measures(), after.measures()
    common = [scenario_id for scenario_id in new if scenario_id in old]
    if not common:
        return {}
    return {
        name: _paired([(new[s][name], old[s][name]) for s in common], seed=seed)
        for name in new[common[0]]
    }


def by_family(outcome: Outcome, *, seed: int) -> Mapping[str, dict[str, object]]:
    """`statistics` apart for each scenario family."""
    families: dict[str, list[Measures]] = {}
    for scenario_id, measures in outcome.measures().items():
        families.setdefault(scenario_id.split("/")[0], []).append(measures)
    return {name: _per_metric(rows, seed=seed) for name, rows in families.items()}


def _per_metric(rows: list[Measures], *, seed: int) -> dict[str, object]:
    if not rows:
        return {}
    return {name: _mean([row[name] for row in rows], seed=seed) for name in rows[0]}


def _mean(values: Sequence[float], *, seed: int) -> dict[str, object]:
    there = [value for value in values if not isnan(value)]  # an open scenario has no welfare
    return bootstrap(there, seed=seed, resamples=RESAMPLES).as_dict()


def _paired(pairs: Sequence[tuple[float, float]], *, seed: int) -> dict[str, object]:
    there = [(new, old) for new, old in pairs if not isnan(new) and not isnan(old)]
    after, before = [new for new, _ in there], [old for _, old in there]
    return paired_bootstrap(after, before, seed=seed, resamples=RESAMPLES).as_dict()


def _seated(policy: Player, partner: Player, seat: int) -> tuple[Player, Player]:
    return (policy, partner) if seat == 0 else (partner, policy)
