"""How good a judge is, measured: against labels that it did not see, and against itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from engines.together import together
from envs.types import Episode
from judges.agreement import Agreement, Estimate, agreement, mean
from judges.base import Judge, Judgement
from judges.labels import Comparison, Labelled, Source, hidden
from judges.mirror import mirrored, mirrored_back
from judges.steadiness import Steadiness, steadiness

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
        agreements: by comparison, in the source's order.
        steadiness: with the seats exchanged, and judged again with other samples.
        details: the mean over scored dialogues of what the judge said of its own steadiness, such
            as how often its samples flipped.
    """

    source: str
    about: str
    dialogues: int
    left_out: int
    unscored: tuple[Unscored, ...]
    agreements: tuple[tuple[Comparison, Agreement], ...]
    steadiness: tuple[Steadiness, ...]
    details: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How good a judge is.

    Attributes:
        sees_task: whether it was shown what a program knows of the task. Where it computes from
            the labels' own source, agreement says that the sums are right, and no more.
    """

    judge_id: str
    judge_version: str
    sees_task: bool
    seed: int
    measured: tuple[Measured, ...]


async def calibrate(
    judge: Judge,
    sources: Sequence[Source],
    *,
    again: Judge,
    sees_task: bool,
    seed: int,
    twice: int,
    progress: Progress = lambda done, total: None,
) -> Calibration:
    """Measure a judge.

    Args:
        judge: the one that is measured.
        sources: labelled episodes; labels are never part of what the judge gets.
        again: the same judge with another seed for its samples.
        sees_task: whether the judge gets the tasks that a program can check, and with them the
            source of computed labels; right for a judge that is such a program.
        seed: of the bootstrap's draws.
        twice: how many episodes of each source, the first ones, are judged twice more: with the
            seats exchanged, and again as they are.
    """
    calls = sum(len(source.episodes) + 2 * min(twice, len(source.episodes)) for source in sources)
    done = count(1)

    async def ask(asked: Judge, episode: Episode) -> Judgement:
        judgement = await asked.judge(episode)
        progress(next(done), calls)
        return judgement

    measured = []
    for source in sources:
        episodes = [one.episode if sees_task else hidden(one.episode) for one in source.episodes]
        few = episodes[:twice]
        said = await together(ask(judge, episode) for episode in episodes)
        exchanged = await together(ask(judge, mirrored(episode)) for episode in few)
        repeated = await together(ask(again, episode) for episode in few)
        steady = (
            steadiness(
                "seats exchanged", said[:twice], list(map(mirrored_back, exchanged)), seed=seed
            ),
            steadiness("judged again", said[:twice], repeated, seed=seed),
        )
        measured.append(_measured(source, said, steady, seed))
    return Calibration(judge.id, judge.version, sees_task, seed, tuple(measured))


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
            (comparison, _agreement(place, comparison.dimension, scored, seed))
            for place, comparison in enumerate(source.comparisons)
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


def _details(judgements: Sequence[Judgement], seed: int) -> dict[str, Estimate]:
    names = dict.fromkeys(name for judgement in judgements for name in judgement.details)
    return {
        name: mean([j.details[name] for j in judgements if name in j.details], seed=seed)
        for name in names
    }
