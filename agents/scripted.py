"""Scripted experts of mixed skill: the demonstrators of stage 0 and a fixed set of partners.

A bargainer sees its own side of the task only. Its temper is drawn from its seed, so that a crowd
of experts holds careless, plain and keen ones, as human data does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from agents.base import Agent, Move
from engines.types import Generation
from envs.bargaining import read_act
from envs.errors import ConfigError
from envs.scenarios.task import Task
from envs.types import Action, ActionType, Deal, Observation, Turn, View


@dataclass(frozen=True, slots=True)
class Temper:
    """How somebody bargains.

    Attributes:
        heed: probability of looking at an offer's worth at all before answering it.
        blind_accept: probability of accepting when not looking.
        patience: share of the aim still asked for at the end, 0..1.
        empathy: whether own offers weigh what the other seems to want.
        talk: probability of saying what one wants instead of making the first offer.
    """

    heed: float
    blind_accept: float
    patience: float
    empathy: bool
    talk: float


TEMPERS: dict[str, Temper] = {
    "careless": Temper(heed=0.3, blind_accept=0.55, patience=0.4, empathy=False, talk=0.3),
    "plain": Temper(heed=0.9, blind_accept=0.4, patience=0.6, empathy=False, talk=0.5),
    "keen": Temper(heed=1.0, blind_accept=0.0, patience=0.75, empathy=True, talk=0.7),
}


@dataclass(frozen=True, slots=True)
class ScriptedExperts:
    """A crowd of bargainers; who sits down is drawn with these weights from the seed.

    Attributes:
        weights: (temper name, weight) pairs.
    """

    weights: tuple[tuple[str, float], ...] = (("careless", 0.4), ("plain", 0.3), ("keen", 0.3))
    version: str = "1"

    @property
    def id(self) -> str:
        mixture = ",".join(f"{name}:{weight:g}" for name, weight in self.weights)
        return f"experts-{self.version}({mixture})"

    def sit(
        self,
        view: View,
        task: Task | None,
        *,
        seed: int,
        persona: int,
        past: tuple[Generation, ...] = (),
    ) -> Agent:
        if task is None:
            raise ConfigError(
                "Scripted experts were asked to play a scenario without a program-checkable task; "
                "use a family such as division, or another partner."
            )
        names, weights = zip(*self.weights, strict=True)
        temper = Random(f"temper/{persona}").choices(names, weights)[0]
        return Bargainer(task, view.seat, TEMPERS[temper], seed)


class Bargainer:
    """Alternating offers with concessions; all it knows of the past is the transcript.

    Its choice at a turn depends on the transcript and the seed alone, so that it can be seated in
    the middle of an episode.
    """

    def __init__(self, task: Task, seat: int, temper: Temper, seed: int) -> None:
        self._task, self._seat, self._temper, self._seed = task, seat, temper, seed

    async def act(self, observation: Observation) -> Move:
        return Move(self.choose(observation))

    def choose(self, observation: Observation) -> Action:
        """The next action."""
        rng = Random(f"{self._seed}/{self._seat}/{len(observation.turns)}")
        standing = standing_offer(self._task, self._seat, observation.turns)
        if standing is not None and self._accepts(standing, observation, rng):
            return Action(ActionType.ACT, "accept")
        own_turns = sum(turn.seat == self._seat for turn in observation.turns)
        opens = own_turns == 0 and rng.random() < self._temper.talk
        if opens or rng.random() < 0.06:
            words = self._task.statement(self._seat, rng)
            if words:
                return Action(ActionType.SPEAK, words)
        deal = self._propose(observation, own_turns, rng)
        return Action(ActionType.ACT, f"offer {self._task.terms(self._seat, deal)}")

    def _demand(self, own_turns: int) -> float:
        """The share of the aim that is asked for: falls from 1 by a tenth a turn to `patience`."""
        return max(self._temper.patience, 1.05 - 0.1 * own_turns)

    def _accepts(self, deal: Deal, observation: Observation, rng: Random) -> bool:
        if rng.random() >= self._temper.heed:
            return rng.random() < self._temper.blind_accept
        own_turns = sum(turn.seat == self._seat for turn in observation.turns)
        aim, value = self._task.aims[self._seat], self._task.apparent_worth(self._seat, deal)
        if observation.turns_left <= 2 and value > 0:
            return rng.random() < 0.8
        return value >= aim * self._demand(own_turns)

    def _propose(self, observation: Observation, own_turns: int, rng: Random) -> Deal:
        task, seat = self._task, self._seat
        deals = task.offerable_deals(seat, careful=self._temper.empathy)
        if rng.random() >= self._temper.heed:
            return rng.choice(deals)
        floor = task.aims[seat] * self._demand(own_turns)
        good = [deal for deal in deals if task.apparent_worth(seat, deal) >= floor]
        good = good or [max(deals, key=lambda deal: task.apparent_worth(seat, deal))]
        if not self._temper.empathy:
            tried = set(task.offers(seat, observation.turns))
            return rng.choice([deal for deal in good if deal not in tried] or good)
        liked = task.estimated_interest(seat, observation.turns)
        return max(good, key=lambda deal: liked(deal) + 0.3 * rng.random())


def standing_offer(task: Task, seat: int, turns: Sequence[Turn]) -> Deal | None:
    """The other's offer that is on the table for `seat`, None if there is none."""
    for turn in reversed(turns):
        if turn.action.type is not ActionType.ACT:
            continue
        keyword = read_act(turn.action.argument).keyword
        if keyword == "offer" and turn.seat != seat:
            return next(task.offers(turn.seat, (turn,)), None)
        if keyword in ("offer", "reject"):
            return None  # mine is on the table, or it was cleared
    return None
