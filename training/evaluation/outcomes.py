"""What came of episodes against a partner, and how policies are compared on them in pairs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import isnan

from agents.base import Player
from envs.types import Scenario
from training.evaluation.measures import Measures, mean_measures, measure
from training.evaluation.statistics import bootstrap, paired_bootstrap
from training.methods.records import PlayedEpisode
from training.play.context import SELF
from training.play.rollout import EpisodePlan, episode_seed

RESAMPLES = 4000


@dataclass(frozen=True, slots=True)
class Outcome:
    """One policy against one partner: the episodes, and the seats that the policy held in each."""

    episodes: tuple[PlayedEpisode, ...]
    seats: tuple[tuple[int, ...], ...]

    def measures(self) -> dict[str, Measures]:
        """The mean over the policy's seats of each scenario that is scored, by its id.

        Several episodes from one seat are averaged first. A scenario that was played from both
        seats counts when there are scores from both, so that policies are compared on the same
        seats.
        """
        found: dict[str, dict[int, list[Measures]]] = {}
        for played, seat in self.held():
            scored = found.setdefault(played.episode.scenario.id, {}).setdefault(seat, [])
            if played.judgement.is_scored:
                scored.append(measure(played, seat))
        return {
            scenario_id: mean_measures([mean_measures(scored) for scored in seats.values()])
            for scenario_id, seats in found.items()
            if all(seats.values())
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

    def of(self, scenario_ids: Collection[str]) -> Outcome:
        """What came of these scenarios alone."""
        kept = [
            (played, seats)
            for played, seats in zip(self.episodes, self.seats, strict=True)
            if played.episode.scenario.id in scenario_ids
        ]
        return Outcome(tuple(played for played, _ in kept), tuple(seats for _, seats in kept))


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
    """Who plays what from which seats: the plans, and the policy's seats in each.

    Against itself the policy holds both seats of one episode a scenario. Against another it holds
    every other one; with `both_seats` it plays each scenario from either, first from seat 0. All of
    that as many times as there are to be `episodes`, with other seeds. Scenarios, seats and seeds
    do not depend on the policy, so that policies can be compared in pairs.
    """
    twice = both_seats and partner_name != SELF
    plans: list[EpisodePlan] = []
    held: list[tuple[int, ...]] = []
    for n, scenario in enumerate(scenarios):
        for seats, again in product(_seats(n, partner_name, both_seats), range(episodes)):
            # The first episode is the same one however many there are.
            times = (f"again{again}",) if again else ()
            place = (partner_name, scenario.id, *(seats if twice else ()), *times)
            plans.append(
                EpisodePlan(
                    id="/".join(map(str, place)),
                    scenario=scenario,
                    players=tuple(policy if seat in seats else partner for seat in (0, 1)),
                    seed=episode_seed(seed, "evaluate", *place),
                )
            )
            held.append(seats)
    return plans, tuple(held)


def _seats(n: int, partner_name: str, both_seats: bool) -> list[tuple[int, ...]]:
    """The policy's seats in each episode of scenario number `n`."""
    if partner_name == SELF:
        return [(0, 1)]
    return [(0,), (1,)] if both_seats else [(n % 2,)]


def statistics(outcome: Outcome, *, seed: int) -> dict[str, object]:
    """Every metric as {"mean", "ci95", "n"}, intervals by bootstrap over scenarios."""
    return statistics_of(outcome.measures(), seed=seed)


def statistics_of(measures: Mapping[str, Measures], *, seed: int) -> dict[str, object]:
    """`statistics` of measures by scenario id."""
    return _per_metric(list(measures.values()), seed=seed)


def paired_statistics(after: Outcome, before: Outcome, *, seed: int) -> dict[str, object]:
    """Every metric's difference on the scenarios that both policies were scored on."""
    return paired_statistics_of(after.measures(), before.measures(), seed=seed)


def paired_statistics_of(
    after: Mapping[str, Measures], before: Mapping[str, Measures], *, seed: int
) -> dict[str, object]:
    """`paired_statistics` of measures by scenario id."""
    common = [scenario_id for scenario_id in after if scenario_id in before]
    if not common:
        return {}
    return {
        name: _paired([(after[s][name], before[s][name]) for s in common], seed=seed)
        for name in after[common[0]]
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
