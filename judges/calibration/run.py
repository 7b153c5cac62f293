"""Measures a judge: against labels that it does not see, against itself, and with canaries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from engines.gather import together
from envs.types import Episode
from judges.base import Judge, Judgement
from judges.calibration.agreement import Agreement, Estimate, agreement, mean
from judges.calibration.canaries import CanaryReport, run_canaries
from judges.calibration.canary_edits import CANARIES, HARMLESS, clean_episodes
from judges.calibration.consistency import Consistency, compare_judgements
from judges.calibration.data import LabelKind, LabelledEpisode, Source, without_task
from judges.calibration.seat_swap import swap_back, swap_seats

Progress = Callable[[int, int], None]
"""Called with the number of judgements made so far, and of all judgements."""


@dataclass(frozen=True, slots=True)
class Unscored:
    """An episode that the judge did not score, and the reason."""

    episode: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceResult:
    """The result of measuring a judge on one source of labelled episodes.

    Attributes:
        agreements: with each kind of label, in the source's order.
        consistency: with seats swapped, and with other samples of the judge.
        details: means over scored dialogues of what the judge reports about itself, such as how
            often its samples disagreed.
    """

    source: str
    about: str
    dialogues: int
    left_out: int
    unscored: tuple[Unscored, ...]
    agreements: tuple[tuple[LabelKind, Agreement], ...]
    consistency: tuple[Consistency, ...]
    details: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How good a judge is, measured on all sources.

    Attributes:
        sees_task: whether the judge saw the tasks. If it computes scores from them, as the labels
            are computed, agreement shows only that the sums are right.
        measured: one result per source.
        canaries: None if canaries were not run.
    """

    judge_id: str
    judge_version: str
    sees_task: bool
    seed: int
    measured: tuple[SourceResult, ...]
    canaries: CanaryReport | None


@dataclass(frozen=True, slots=True)
class CountingJudge:
    """A judge that calls a function after each judgement.

    Attributes:
        wrapped: the judge that judges.
    """

    wrapped: Judge
    tick: Callable[[], None]

    @property
    def id(self) -> str:
        return self.wrapped.id

    @property
    def version(self) -> str:
        return self.wrapped.version

    async def judge(self, episode: Episode) -> Judgement:
        judgement = await self.wrapped.judge(episode)
        self.tick()
        return judgement


def count_judgements(sources: Sequence[Source], *, n_rejudged: int, with_canaries: bool) -> int:
    """How many judgements `calibrate` asks for."""
    sizes = [len(source.episodes) for source in sources]
    canaries = len(clean_episodes(0)) * (1 + len(HARMLESS) + len(CANARIES))
    return sum(size + 2 * min(n_rejudged, size) for size in sizes) + canaries * with_canaries


async def calibrate(
    judge: Judge,
    sources: Sequence[Source],
    *,
    reseeded: Judge,
    sees_task: bool,
    seed: int,
    n_rejudged: int,
    with_canaries: bool = True,
    progress: Progress = lambda done, total: None,
) -> Calibration:
    """Measure a judge.

    Args:
        judge: the judge to measure.
        sources: labelled episodes; the judge never gets the labels.
        reseeded: the same judge with another seed for its samples.
        sees_task: whether the judge gets the tasks, from which labels are computed; right for a
            judge that is a program. Canaries have no labels, so their tasks are never hidden.
        seed: of the bootstrap and of the canaries' scenarios.
        n_rejudged: how many episodes of each source, from the first on, are judged twice more:
            with seats swapped, and by `reseeded`.

    Raises:
        BudgetError, ConfigError: from the judge.
    """
    total = count_judgements(sources, n_rejudged=n_rejudged, with_canaries=with_canaries)
    done = count(1)

    def tick() -> None:
        progress(next(done), total)

    judge, reseeded = CountingJudge(judge, tick), CountingJudge(reseeded, tick)
    measured = [
        await _measure(
            judge, reseeded, source, sees_task=sees_task, seed=seed, n_rejudged=n_rejudged
        )
        for source in sources
    ]
    canaries = await run_canaries(judge, seed) if with_canaries else None
    return Calibration(judge.id, judge.version, sees_task, seed, tuple(measured), canaries)


async def _measure(
    judge: Judge,
    reseeded: Judge,
    source: Source,
    *,
    sees_task: bool,
    seed: int,
    n_rejudged: int,
) -> SourceResult:
    episodes = [one.episode if sees_task else without_task(one.episode) for one in source.episodes]
    few = episodes[:n_rejudged]
    judgements = await together(judge.judge(episode) for episode in episodes)
    swapped = await together(judge.judge(swap_seats(episode)) for episode in few)
    repeated = await together(reseeded.judge(episode) for episode in few)
    first = judgements[:n_rejudged]
    consistency = (
        compare_judgements("seats exchanged", first, list(map(swap_back, swapped)), seed=seed),
        compare_judgements("judged again", first, repeated, seed=seed),
    )
    return _source_result(source, judgements, consistency, seed)


def _source_result(
    source: Source,
    judgements: Sequence[Judgement],
    consistency: tuple[Consistency, ...],
    seed: int,
) -> SourceResult:
    scored = [
        (labelled, judgement)
        for labelled, judgement in zip(source.episodes, judgements, strict=True)
        if judgement.is_scored
    ]
    return SourceResult(
        source=source.name,
        about=source.about,
        dialogues=len(source.episodes),
        left_out=source.left_out,
        unscored=tuple(
            Unscored(labelled.episode.scenario.id, " ".join(judgement.reasons))
            for labelled, judgement in zip(source.episodes, judgements, strict=True)
            if not judgement.is_scored
        ),
        agreements=tuple(
            (kind, _agreement(index, kind.dimension, scored, seed))
            for index, kind in enumerate(source.kinds)
        ),
        consistency=consistency,
        details=_details([judgement for _, judgement in scored], seed),
    )


def _agreement(
    index: int, dimension: str, scored: Sequence[tuple[LabelledEpisode, Judgement]], seed: int
) -> Agreement:
    """Agreement of a dimension's scores with the labels at `index`, for seats that have one."""
    rows = [
        (float(getattr(scores, dimension)), label, dialogue)
        for dialogue, (labelled, judgement) in enumerate(scored)
        for scores, label in zip(judgement.scores, labelled.labels[index], strict=True)
        if label is not None
    ]
    return agreement(
        [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows], seed=seed
    )


def _details(judgements: Sequence[Judgement], seed: int) -> dict[str, Estimate]:
    names = dict.fromkeys(name for judgement in judgements for name in judgement.details)
    return {
        name: mean([each.details[name] for each in judgements if name in each.details], seed=seed)
        for name in names
    }
