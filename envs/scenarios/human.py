"""Recorded dialogues between people as episodes, and how their points compare with the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from envs.errors import ParleyError
from envs.referee import utilities
from envs.social import Rules, replay
from envs.types import Action, EndReason, Episode, Scenario, Turn


@dataclass(frozen=True, slots=True)
class Reported:
    """The recorded outcome of one seat; the texts are the data's own, empty where it has none."""

    points: float
    satisfaction: str = ""
    likeness: str = ""


@dataclass(frozen=True, slots=True)
class HumanEpisode:
    """An episode with the recorded outcome of each seat."""

    episode: Episode
    reported: tuple[Reported, Reported]

    @property
    def points(self) -> tuple[float, float]:
        """Both seats' points as `envs.referee` computes them."""
        task = self.episode.scenario.task
        return (0.0, 0.0) if task is None else utilities(task, self.episode.deal)

    @property
    def agrees(self) -> bool:
        """Whether the computed points equal the recorded ones for both seats."""
        return self.points == tuple(one.points for one in self.reported)


@dataclass(frozen=True, slots=True)
class Remark:
    """A note about one dialogue: its id and the reason for the note."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class HumanData:
    """The dialogues of one file.

    Attributes:
        episodes: the dialogues that replay to their recorded end.
        left_out: those that do not.
        remarks: notes about some of `episodes`, such as those without a record of what the two
            sides chose.
    """

    episodes: tuple[HumanEpisode, ...]
    left_out: tuple[Remark, ...]
    remarks: tuple[Remark, ...] = ()

    @property
    def disagreeing(self) -> tuple[Remark, ...]:
        """Episodes whose computed points differ from the recorded ones."""
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
    """Replay recorded (seat, action) pairs: the episode, or the reason why they do not replay.

    The seats act in the order of the record, also where somebody speaks twice in a row.
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
