"""The outcome of a policy against a partner: its episodes, and statistics of their metrics."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from training.evaluation.measures import Measures, mean_measures, measure
from training.evaluation.statistics import bootstrap, paired_bootstrap
from training.methods.records import PlayedEpisode

RESAMPLES = 4000
"""Bootstrap resamples for each interval."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The episodes of one policy against one partner.

    Attributes:
        seats: the seats that the policy held in each episode.
    """

    episodes: tuple[PlayedEpisode, ...]
    seats: tuple[tuple[int, ...], ...]

    def measures(self) -> dict[str, Measures]:
        """The mean metrics of each scored scenario, by scenario id.

        Episodes from one seat are averaged first, then seats. A scenario that was played from
        both seats counts only if both are scored, so that policies are compared on the same
        seats.
        """
        by_scenario: dict[str, dict[int, list[Measures]]] = {}
        for played, seat in self.held():
            scored = by_scenario.setdefault(played.episode.scenario.id, {}).setdefault(seat, [])
            if played.judgement.is_scored:
                scored.append(measure(played, seat))
        return {
            scenario_id: mean_measures([mean_measures(scored) for scored in seats.values()])
            for scenario_id, seats in by_scenario.items()
            if all(seats.values())
        }

    def held(self) -> list[tuple[PlayedEpisode, int]]:
        """Every (episode, seat) that the policy held."""
        return [
            (played, seat)
            for played, seats in zip(self.episodes, self.seats, strict=True)
            for seat in seats
        ]

    @property
    def unscored(self) -> int:
        """How many episodes the judge could not score."""
        return sum(not played.judgement.is_scored for played in self.episodes)

    def of(self, scenario_ids: Collection[str]) -> Outcome:
        """The outcome on these scenarios only."""
        kept = [
            (played, seats)
            for played, seats in zip(self.episodes, self.seats, strict=True)
            if played.episode.scenario.id in scenario_ids
        ]
        return Outcome(tuple(played for played, _ in kept), tuple(seats for _, seats in kept))


def statistics(outcome: Outcome, *, seed: int) -> dict[str, object]:
    """Each metric's mean with its bootstrap interval over scenarios, as a STAT."""
    return statistics_of(outcome.measures(), seed=seed)


def statistics_of(measures: Mapping[str, Measures], *, seed: int) -> dict[str, object]:
    """`statistics` of metrics that are given by scenario id."""
    return _per_metric(list(measures.values()), seed=seed)


def paired_statistics(after: Outcome, before: Outcome, *, seed: int) -> dict[str, object]:
    """Each metric's paired difference on the scenarios that both policies are scored on."""
    return paired_statistics_of(after.measures(), before.measures(), seed=seed)


def paired_statistics_of(
    after: Mapping[str, Measures], before: Mapping[str, Measures], *, seed: int
) -> dict[str, object]:
    """`paired_statistics` of metrics that are given by scenario id."""
    common = [scenario_id for scenario_id in after if scenario_id in before]
    if not common:
        return {}
    return {
        name: _paired([(after[s][name], before[s][name]) for s in common], seed=seed)
        for name in after[common[0]]
    }


def by_family(outcome: Outcome, *, seed: int) -> Mapping[str, dict[str, object]]:
    """`statistics` of each scenario family separately."""
    families: dict[str, list[Measures]] = {}
    for scenario_id, measures in outcome.measures().items():
        families.setdefault(scenario_id.split("/")[0], []).append(measures)
    return {name: _per_metric(rows, seed=seed) for name, rows in families.items()}


def _per_metric(rows: list[Measures], *, seed: int) -> dict[str, object]:
    if not rows:
        return {}
    return {name: _mean([row[name] for row in rows], seed=seed) for name in rows[0]}


def _mean(values: Sequence[float], *, seed: int) -> dict[str, object]:
    known = [value for value in values if not isnan(value)]  # an open scenario has no welfare
    return bootstrap(known, seed=seed, resamples=RESAMPLES).as_dict()


def _paired(pairs: Sequence[tuple[float, float]], *, seed: int) -> dict[str, object]:
    known = [(new, old) for new, old in pairs if not isnan(new) and not isnan(old)]
    after, before = [new for new, _ in known], [old for _, old in known]
    return paired_bootstrap(after, before, seed=seed, resamples=RESAMPLES).as_dict()
