"""Dialogues between people as episodes of our own: replayed, and held against what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from envs.errors import ParleyError
from envs.referee import utilities
from envs.social import Rules, replay
from envs.types import Action, EndReason, Episode, Scenario, Turn


@dataclass(frozen=True, slots=True)
class Reported:
    """What was recorded of one seat; the words are the data's own, empty where it has none."""

    points: float
    satisfaction: str = ""
    likeness: str = ""


@dataclass(frozen=True, slots=True)
class HumanEpisode:
    """An episode and what was recorded of each seat."""

    episode: Episode
    reported: tuple[Reported, Reported]

    @property
    def points(self) -> tuple[float, float]:
        """Both seats' points by our referee."""
        task = self.episode.scenario.task
        return (0.0, 0.0) if task is None else utilities(task, self.episode.deal)

    @property
    def agrees(self) -> bool:
        """Whether the referee's points are the recorded ones, for both seats."""
        return self.points == tuple(one.points for one in self.reported)


@dataclass(frozen=True, slots=True)
class Remark:
    """A dialogue that is worth a remark, and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class HumanData:
    """What came of a file.

    Attributes:
        episodes: the dialogues that replay to their recorded end.
        left_out: those that don't.
        remarks: episodes among the first that are special in some way, such as without a record
            of what the two sides chose.
    """

    episodes: tuple[HumanEpisode, ...]
    left_out: tuple[Remark, ...]
    remarks: tuple[Remark, ...] = ()

    @property
    def disagreeing(self) -> tuple[Remark, ...]:
        """Episodes whose points by our referee are not the recorded ones."""
        return tuple(
            Remark(
                one.episode.scenario.id,
                f"referee {one.points}, recorded {tuple(r.points for r in one.reported)}",
            )
            for one in self.episodes
            if not one.agrees
        )


def recorded_episode(
    scenario: Scenario, said: Sequence[tuple[int, Action]], end: EndReason
) -> Episode | str:
    """The episode in which (seat, action) after (seat, action) happened, or why there is none.

    The seats act in the order of the record: people do speak twice in a row. Nothing is inserted.
    """
    seats = tuple(seat for seat, _ in said)
    rules = Rules(max_turns=len(said), max_stale=len(said), recorded=seats)
    turns = [Turn(index, seat, action) for index, (seat, action) in enumerate(said)]
    try:
        episode = replay(scenario, rules, turns).episode()
    except ParleyError as error:
        return f"does not replay: {error}"
    for turn in episode.turns:
        if turn.action.invalid is not None:
            return f"turn {turn.index} is against the rules: {turn.action.invalid}"
    if episode.end is not end:
        return f"ended by {episode.end}, expected {end}"
    return episode
