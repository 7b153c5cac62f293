"""Scripted experts of mixed skill: the demonstrators of behaviour cloning, and fixed partners.

A bargainer sees its own side of the task only; what it says and what it guesses of the other's
wishes comes from the task (`envs.scenarios.task`). Its style is drawn from its seed, so that the
experts are a mixture of careless, plain and keen ones, as people in human data are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from agents.base import Agent, Move, Seat
from agents.speech import in_words
from envs.bargaining import read_act
from envs.errors import ConfigError
from envs.scenarios.task import Task
from envs.types import Action, ActionType, Deal, Observation, Turn


@dataclass(frozen=True, slots=True)
class BargainingStyle:
    """How an expert bargains.

    Attributes:
        attention: probability of computing what an offer is worth before answering or making it.
        blind_accept: probability of accepting an offer whose worth was not computed.
        min_demand: share of the aim that it still asks for at the end, 0..1.
        empathy: whether its offers take account of what the other seems to want.
        talk: probability of saying what it wants instead of making the first offer.
    """

    attention: float
    blind_accept: float
    min_demand: float
    empathy: bool
    talk: float


BARGAINING_STYLES: dict[str, BargainingStyle] = {
    "careless": BargainingStyle(
        attention=0.3,
        blind_accept=0.55,
        min_demand=0.4,
        empathy=False,
        talk=0.3,
    ),
    "plain": BargainingStyle(
        attention=0.9,
        blind_accept=0.4,
        min_demand=0.6,
        empathy=False,
        talk=0.5,
    ),
    "keen": BargainingStyle(
        attention=1.0,
        blind_accept=0.0,
        min_demand=0.75,
        empathy=True,
        talk=0.7,
    ),
}


@dataclass(frozen=True, slots=True)
class ScriptedExperts:
    """A mixture of bargainers: the style in each episode is drawn from the seed.

    Attributes:
        weights: (name of a bargaining style, weight) pairs.
        speaks: whether they say in plain English what they do, beside doing it; else they use the
            line language alone. What they do is the same.
    """

    weights: tuple[tuple[str, float], ...] = (("careless", 0.4), ("plain", 0.3), ("keen", 0.3))
    version: str = "1"
    speaks: bool = False

    @property
    def id(self) -> str:
        mixture = ",".join(f"{name}:{weight:g}" for name, weight in self.weights)
        return f"experts-{self.version}({mixture}){'-speaking' if self.speaks else ''}"

    def sit(self, seat: Seat) -> Agent:
        if seat.task is None:
            raise ConfigError(
                "Scripted experts were asked to play a scenario without a program-checkable task; "
                "use a family such as division, or another partner."
            )
        names, weights = zip(*self.weights, strict=True)
        style = Random(f"temper/{seat.persona}").choices(names, weights)[0]
        number = seat.view.seat
        return Bargainer(seat.task, number, BARGAINING_STYLES[style], seat.seed, self.speaks)


class Bargainer:
    """An agent that makes alternating offers and concedes a little each turn.

    Its action depends on the transcript and the seed alone, so that it can take over in the middle
    of an episode.
    """

    def __init__(
        self, task: Task, seat: int, style: BargainingStyle, seed: int, speaks: bool = False
    ) -> None:
        self._task, self._seat, self._style, self._seed = task, seat, style, seed
        self._speaks = speaks

    async def act(self, observation: Observation) -> Move:
        action = self.choose(observation)
        if not self._speaks:
            return Move(action)
        rng = Random(f"words/{self._seed}/{self._seat}/{len(observation.turns)}")
        return Move(in_words(action, self._task, observation, rng))

    def choose(self, observation: Observation) -> Action:
        """The next action."""
        rng = Random(f"{self._seed}/{self._seat}/{len(observation.turns)}")
        standing = standing_offer(self._task, self._seat, observation.turns)
        if standing is not None and self._accepts(standing, observation, rng):
            return Action(ActionType.ACT, "accept")
        own_turns = sum(turn.seat == self._seat for turn in observation.turns)
        opens = own_turns == 0 and rng.random() < self._style.talk
        if opens or rng.random() < 0.06:
            words = self._task.statement(self._seat, rng)
            if words:
                return Action(ActionType.SPEAK, words)
        deal = self._propose(observation, own_turns, rng)
        return Action(ActionType.ACT, f"offer {self._task.terms(self._seat, deal)}")

    def _demand(self, own_turns: int) -> float:
        """The share of the aim that is asked for: falls by a tenth a turn down to `min_demand`."""
        return max(self._style.min_demand, 1.05 - 0.1 * own_turns)

    def _accepts(self, deal: Deal, observation: Observation, rng: Random) -> bool:
        if rng.random() >= self._style.attention:
            return rng.random() < self._style.blind_accept
        own_turns = sum(turn.seat == self._seat for turn in observation.turns)
        aim, value = self._task.aims[self._seat], self._task.apparent_worth(self._seat, deal)
        if observation.turns_left <= 2 and value > 0:
            return rng.random() < 0.8
        return value >= aim * self._demand(own_turns)

    def _propose(self, observation: Observation, own_turns: int, rng: Random) -> Deal:
        task, seat = self._task, self._seat
        deals = task.offerable_deals(seat, careful=self._style.empathy)
        if rng.random() >= self._style.attention:
            return rng.choice(deals)
        floor = task.aims[seat] * self._demand(own_turns)
        good = [deal for deal in deals if task.apparent_worth(seat, deal) >= floor]
        good = good or [max(deals, key=lambda deal: task.apparent_worth(seat, deal))]
        if not self._style.empathy:
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
