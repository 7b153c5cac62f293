"""How good a judge is, measured: against labels that it did not see, and against itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from engines.gather import together
from envs.types import Episode
from judges.base import Judge, Judgement
from judges.calibration.agreement import Agreement, Estimate, agreement, mean
from judges.calibration.canaries import CanaryReport, run_canaries
from judges.calibration.canary_edits import CANARIES, HARMLESS, base_episodes
from judges.calibration.consistency import Steadiness, steadiness
from judges.calibration.data import LabelKind, Labelled, Source, hidden
from judges.calibration.seat_swap import mirrored, mirrored_back

Progress = Callable[[int, int], None]
"""Called with how many judgements are made and how many there will be."""


@dataclass(frozen=True, slots=True)
class Unscored:
    """An episode that the judge gave no scores, and why."""

    episode: str
    reason: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of one source of labelled episodes.

    Attributes:
        agreements: by kind, in the source's order.
        steadiness: with the seats exchanged, and judged again with other samples.
        details: the mean over scored dialogues of what the judge said of its own steadiness, such
            as how often its samples flipped.
    """

    source: str
    about: str
    dialogues: int
    left_out: int
    unscored: tuple[Unscored, ...]
    agreements: tuple[tuple[LabelKind, Agreement], ...]
    steadiness: tuple[Steadiness, ...]
    details: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How good a judge is.

    Attributes:
        sees_task: whether it was shown what a program knows of the task. Where it computes from
            the labels' own source, agreement says that the sums are right, and no more.
        canaries: what it gives to those who play to it; None where that was not measured.
    """

    judge_id: str
    judge_version: str
    sees_task: bool
    seed: int
    measured: tuple[Measured, ...]
    canaries: CanaryReport | None


@dataclass(frozen=True, slots=True)
class Counted:
    """A judge whose judgements are counted.

    Attributes:
        tick: called after each of them.
    """

    judged_by: Judge
    tick: Callable[[], None]

    @property
    def id(self) -> str:
        return self.judged_by.id

    @property
    def version(self) -> str:
        return self.judged_by.version

    async def judge(self, episode: Episode) -> Judgement:
        judgement = await self.judged_by.judge(episode)
        self.tick()
        return judgement


def judgements(sources: Sequence[Source], *, twice: int, with_canaries: bool) -> int:
    """How many judgements `calibrate` asks for."""
    sizes = [len(source.episodes) for source in sources]
    twins = len(base_episodes(0)) * (1 + len(HARMLESS) + len(CANARIES))
    return sum(size + 2 * min(twice, size) for size in sizes) + twins * with_canaries


async def calibrate(
    judge: Judge,
    sources: Sequence[Source],
    *,
    again: Judge,
    sees_task: bool,
    seed: int,
    twice: int,
    with_canaries: bool = True,
    progress: Progress = lambda done, total: None,
) -> Calibration:
    """Measure a judge.

    Args:
        judge: the one that is measured.
        sources: labelled episodes; labels are never part of what the judge gets.
        again: the same judge with another seed for its samples.
        sees_task: whether the judge gets the tasks that a program can check, and with them the
            source of computed labels; right for a judge that is such a program. Canaries have no
            labels, and come as they are.
        seed: of the bootstrap's draws and of the canaries' scenarios.
        twice: how many episodes of each source, the first ones, are judged twice more: with the
            seats exchanged, and again as they are.

    Raises:
        BudgetError, ConfigError: from the judge.
    """
    total = judgements(sources, twice=twice, with_canaries=with_canaries)
    done = count(1)

    def tick() -> None:
        progress(next(done), total)

    judge, again = Counted(judge, tick), Counted(again, tick)
    measured = [
        await _measure(judge, again, source, sees_task=sees_task, seed=seed, twice=twice)
        for source in sources
    ]
    canaries = await run_canaries(judge, seed) if with_canaries else None
    return Calibration(judge.id, judge.version, sees_task, seed, tuple(measured), canaries)


async def _measure(
    judge: Judge, again: Judge, source: Source, *, sees_task: bool, seed: int, twice: int
) -> Measured:
    episodes = [one.episode if sees_task else hidden(one.episode) for one in source.episodes]
    few = episodes[:twice]
    said = await together(judge.judge(episode) for episode in episodes)
    exchanged = await together(judge.judge(mirrored(episode)) for episode in few)
    repeated = await together(again.judge(episode) for episode in few)
    told_back = [mirrored_back(judgement) for judgement in exchanged]
    steady = (
        steadiness("seats exchanged", said[:twice], told_back, seed=seed),
        steadiness("judged again", said[:twice], repeated, seed=seed),
    )
    return _measured(source, said, steady, seed)


def _measured(
    source: Source, said: Sequence[Judgement], steady: tuple[Steadiness, ...], seed: int
) -> Measured:
    scored = [
        (labelled, judgement)
        for labelled, judgement in zip(source.episodes, said, strict=True)
        if judgement.is_scored
    ]
    return Measured(
        source=source.name,
        about=source.about,
        dialogues=len(source.episodes),
        left_out=source.left_out,
        unscored=tuple(
            Unscored(labelled.episode.scenario.id, " ".join(judgement.reasons))
            for labelled, judgement in zip(source.episodes, said, strict=True)
            if not judgement.is_scored
        ),
        agreements=tuple(
            (kind, _agreement(place, kind.dimension, scored, seed))
            for place, kind in enumerate(source.kinds)
        ),
        steadiness=steady,
        details=_details([judgement for _, judgement in scored], seed),
    )


def _agreement(
    place: int, dimension: str, scored: Sequence[tuple[Labelled, Judgement]], seed: int
) -> Agreement:
    """The judge's scores of a dimension against the label in that place, where there is one."""
    rows = [
        (float(getattr(scores, dimension)), label, dialogue)
        for dialogue, (labelled, judgement) in enumerate(scored)
        for scores, label in zip(judgement.scores, labelled.labels[place], strict=True)
        if label is not None
    ]
    return agreement(
        [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows], seed=seed
    )


def _details(said: Sequence[Judgement], seed: int) -> dict[str, Estimate]:
    names = dict.fromkeys(name for judgement in said for name in judgement.details)
    return {
        name: mean([each.details[name] for each in said if name in each.details], seed=seed)
        for name in names
    }
