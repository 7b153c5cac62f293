"""Labelled episodes to measure a judge against; the judge never sees the labels.

Labels are points that a program computes, or what people recorded about their own negotiations,
mapped to the scales of the judge's dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from envs.errors import DataError
from envs.referee import attainable, goal_score, utilities
from envs.scenarios.human import HumanData, HumanEpisode
from envs.types import EndReason, Episode
from judges.base import DIMENSION_RANGES

SATISFACTION: Final = (
    "Extremely dissatisfied",
    "Slightly dissatisfied",
    "Undecided",
    "Slightly satisfied",
    "Extremely satisfied",
)
LIKENESS: Final = (
    "Extremely dislike",
    "Slightly dislike",
    "Undecided",
    "Slightly like",
    "Extremely like",
)
"""CaSiNo's five answers to each question, from worst to best."""


@dataclass(frozen=True, slots=True)
class LabelKind:
    """A kind of label, and the judge's dimension that it is compared with.

    Attributes:
        dimension: one of `DIMENSION_RANGES`.
        label: what was recorded or computed.
        mapping: how the label is mapped to the dimension's scale.
        deals_only: whether dialogues without a deal are left out.
    """

    dimension: str
    label: str
    mapping: str
    deals_only: bool = False

    @property
    def with_deal(self) -> LabelKind:
        """The same label, restricted to dialogues that ended in a deal.

        A dialogue that broke off gives most of its labels away, so a few of them can produce a
        correlation that hardly exists among the others.
        """
        return replace(self, label=f"{self.label}, deals", deals_only=True)


SeatLabels = tuple[float | None, float | None]
"""The labels of both seats on the dimension's scale; None if nothing was recorded."""


@dataclass(frozen=True, slots=True)
class LabelledEpisode:
    """An episode and its labels, in the order of `Source.kinds`."""

    episode: Episode
    labels: tuple[SeatLabels, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A set of labelled episodes from one origin.

    Attributes:
        name: short, for tables.
        about: which episodes these are, as a phrase.
        left_out: how many dialogues could not be replayed and have no episode.
    """

    name: str
    about: str
    kinds: tuple[LabelKind, ...]
    episodes: tuple[LabelledEpisode, ...]
    left_out: int = 0


_GOAL = LabelKind("goal", "goal", "10 * min(1, max(0, points) / aim)")
_SATISFACTION = LabelKind("goal", "satisfaction", "five answers of the seat: 0, 2.5, 5, 7.5, 10")
_LIKENESS = LabelKind(
    "relationship", "likeness", "five answers of the partner: -5, -2.5, 0, 2.5, 5"
)

COMPUTED: Final = (
    _GOAL,
    _GOAL.with_deal,
    LabelKind("financial_and_material_benefits", "points", "5 * points / best attainable"),
)
CASINO: Final = (
    LabelKind("financial_and_material_benefits", "points", "5 * points / 36"),
    LabelKind("goal", "points", "10 * points / 36"),
    _SATISFACTION,
    _SATISFACTION.with_deal,
    _LIKENESS,
    _LIKENESS.with_deal,
)


def computed_labels(episodes: Sequence[Episode], *, about: str) -> Source:
    """Label episodes whose goals a program can check with the points that it computes.

    Raises:
        DataError: a scenario has no task.
    """
    played = [episode for episode in episodes if episode.end is not EndReason.FAILED]
    labelled = tuple(LabelledEpisode(episode, _computed(episode)) for episode in played)
    return Source("families", about, COMPUTED, labelled, len(episodes) - len(played))


def casino_labels(data: HumanData, *, about: str) -> Source:
    """Label CaSiNo's dialogues with what both sides recorded: points, satisfaction and likeness.

    A seat's likeness is its partner's answer to how much it liked that seat.

    Raises:
        DataError: an answer is none of the five.
    """
    labelled = tuple(LabelledEpisode(one.episode, _recorded(one)) for one in data.episodes)
    return Source("casino", about, CASINO, labelled, len(data.left_out))


def without_task(episode: Episode) -> Episode:
    """The episode without its task and deal, so that a judge sees scenario and transcript only."""
    return replace(episode, scenario=replace(episode.scenario, task=None), deal=None)


def _computed(episode: Episode) -> tuple[SeatLabels, ...]:
    task = episode.scenario.task
    if task is None:
        raise DataError(
            f"Scenario {episode.scenario.id} has no task, so nothing can be computed of it; take "
            "scenarios of a family that a program can check."
        )
    own, other = utilities(task, episode.deal)
    best = attainable(task).best
    goals = (goal_score(task, 0, episode.deal), goal_score(task, 1, episode.deal))
    return (
        goals,
        _if_deal(episode, goals),
        (5 * own / best[0], 5 * other / best[1]),
    )


def _recorded(one: HumanEpisode) -> tuple[SeatLabels, ...]:
    task = one.episode.scenario.task
    assert task is not None  # the loader makes one from each side's priorities
    first, second = one.reported
    best = attainable(task).best
    share = (first.points / best[0], second.points / best[1])
    satisfaction = (
        _on_scale(first.satisfaction, SATISFACTION, "goal"),
        _on_scale(second.satisfaction, SATISFACTION, "goal"),
    )
    likeness = (  # each seat's, as its partner answered
        _on_scale(second.likeness, LIKENESS, "relationship"),
        _on_scale(first.likeness, LIKENESS, "relationship"),
    )
    return (
        (5 * share[0], 5 * share[1]),
        (10 * share[0], 10 * share[1]),
        satisfaction,
        _if_deal(one.episode, satisfaction),
        likeness,
        _if_deal(one.episode, likeness),
    )


def _if_deal(episode: Episode, labels: SeatLabels) -> SeatLabels:
    return (None, None) if episode.deal is None else labels


def _on_scale(answer: str, answers: tuple[str, ...], dimension: str) -> float | None:
    """Map an answer to the dimension's range, evenly spaced; None if there is no answer."""
    if not answer:
        return None
    if answer not in answers:
        raise DataError(f"The answer {answer!r} is none of {', '.join(answers)}.")
    low, high = DIMENSION_RANGES[dimension]
    return low + (high - low) * answers.index(answer) / (len(answers) - 1)
