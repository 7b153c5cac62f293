"""Swaps the two seats of an episode, to see whether a judge's scores depend on their order.

The swapped episode has the same turns, with the other agent presented first. A judge without
position bias gives each agent the same scores either way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from envs.scenarios.task import Task
from envs.types import Deal, Episode
from judges.base import Judgement


@dataclass(frozen=True, slots=True)
class SeatSwappedTask(Task):
    """A task with its two seats swapped; deals are the original's."""

    original: Task

    def deals(self) -> tuple[Deal, ...]:
        return self.original.deals()

    def utility(self, seat: int, deal: Deal) -> float:
        return self.original.utility(1 - seat, deal)

    def terms(self, seat: int, deal: Deal) -> str:
        return self.original.terms(1 - seat, deal)

    def parse_terms(self, seat: int, text: str) -> Deal:
        return self.original.parse_terms(1 - seat, text)

    def appraise(self, seat: int, deal: Deal) -> tuple[int, ...]:
        return self.original.appraise(1 - seat, deal)

    def no_deal(self, seat: int) -> float:
        return self.original.no_deal(1 - seat)

    def leaks(self, seat: int, text: str) -> bool:
        return self.original.leaks(1 - seat, text)


def swap_seats(episode: Episode) -> Episode:
    """Swap seat 0 and seat 1 of an episode; turns keep their order."""
    scenario, task = episode.scenario, episode.scenario.task
    swapped = replace(
        scenario,
        goals=scenario.goals[::-1],
        briefs=scenario.briefs[::-1],
        profiles=scenario.profiles[::-1],
        task=None if task is None else SeatSwappedTask((task.aims[1], task.aims[0]), task),
    )
    turns = tuple(replace(turn, seat=1 - turn.seat) for turn in episode.turns)
    return replace(episode, scenario=swapped, turns=turns)


def swap_back(judgement: Judgement) -> Judgement:
    """Put the judgement of a swapped episode into the original's seat order."""
    if not judgement.is_scored:
        return judgement
    return replace(judgement, scores=judgement.scores[::-1], reasons=judgement.reasons[::-1])
