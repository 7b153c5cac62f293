"""The base class of tasks that a program can check: private points over a finite set of deals.

A family defines a frozen dataclass that derives from `Task`. All methods are pure: the same task
and deal always give the same points. The last group of methods tells scripted experts how to talk
about the task; their defaults serve any task.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from envs.bargaining import read_act
from envs.errors import ActionError
from envs.types import ActionType, Deal, Turn


@dataclass(frozen=True, slots=True)
class Task(ABC):
    """The rules and private values of a two-seat scenario, as a program needs them.

    Attributes:
        aims: the points that each seat's goal asks for, > 0. Both can be reached by one deal, so
            that greed beyond the aim earns nothing (see `goal_score`).
    """

    aims: tuple[float, float]

    @abstractmethod
    def deals(self) -> tuple[Deal, ...]:
        """All possible deals, in a fixed order; never empty."""

    @abstractmethod
    def utility(self, seat: int, deal: Deal) -> float:
        """The points of `deal` for `seat`, on the scale of `no_deal`."""

    @abstractmethod
    def terms(self, seat: int, deal: Deal) -> str:
        """The words with which `seat` offers `deal`; `parse_terms` reads them back."""

    @abstractmethod
    def parse_terms(self, seat: int, text: str) -> Deal:
        """The deal that `seat` offers by `text`.

        Raises:
            ActionError: a sentence that says what was got and what an offer looks like.
        """

    @abstractmethod
    def appraise(self, seat: int, deal: Deal) -> tuple[int, ...]:
        """The steps of computing the points of `deal`: a running sum that ends in the utility."""

    def no_deal(self, seat: int) -> float:
        """The points of `seat` when nothing is agreed (the disagreement point)."""
        return 0.0

    def leaks(self, seat: int, text: str) -> bool:
        """Whether `text` by `seat` reveals what its goal asks it to keep secret."""
        return False

    def statement(self, seat: int, rng: Random) -> str | None:
        """A true sentence about what `seat` wants, in the line language; None if there is none."""
        return None

    def account(self, seat: int, deal: Deal) -> str:
        """The steps of computing the points of `deal` for `seat`, in words and numbers."""
        return ", ".join(f"{points} points" for points in self.appraise(seat, deal))

    def in_words(self, seat: int, deal: Deal) -> str:
        """What `seat` offers by `deal`, to follow "How about": "a split where you get 2 hats"."""
        return self.terms(seat, deal)

    def wish(self, seat: int, rng: Random) -> str | None:
        """A true sentence about what `seat` wants, in plain English; None if there is none."""
        return self.statement(seat, rng)

    def offerable_deals(self, seat: int, *, careful: bool = True) -> list[Deal]:
        """The deals that `seat` could offer, given what it knows.

        Args:
            careful: leave out offers that reveal what the goal asks to keep secret.
        """
        return list(self.deals())

    def offer_pattern(self, seat: int) -> str:
        """A regular expression of the terms that `seat` could offer; `parse_terms` reads them all.

        It is in the syntax that Python's `re` and llguidance share.
        """
        terms = dict.fromkeys(
            self.terms(seat, deal) for deal in self.offerable_deals(seat, careful=False)
        )
        return "|".join(_SPECIAL.sub(r"\\\g<0>", words) for words in terms)

    def apparent_worth(self, seat: int, deal: Deal) -> float:
        """The points that `deal` seems to have for `seat`, which knows its own side only."""
        return self.utility(seat, deal)

    def estimated_interest(self, seat: int, turns: tuple[Turn, ...]) -> Callable[[Deal], float]:
        """How much the other seat seems to like a deal, guessed by `seat` from the transcript.

        Returns:
            A function of the deal, on any scale: higher is better for the other. By default minus
            the distance to the nearest of the other's own offers, 0 if there are none.
        """
        offered = list(self.offers(1 - seat, turns))
        return lambda deal: -float(min((_distance(deal, each) for each in offered), default=0))

    def offers(self, seat: int, turns: tuple[Turn, ...]) -> Iterator[Deal]:
        """The deals that `seat` has offered, in order; offers that cannot be read are left out."""
        for turn in turns:
            if turn.seat == seat and turn.action.type is ActionType.ACT:
                act = read_act(turn.action.argument)
                if act.keyword != "offer":
                    continue
                try:
                    yield self.parse_terms(seat, act.rest)
                except ActionError:
                    continue


def spoken_words(seat: int, turns: tuple[Turn, ...]) -> list[list[str]]:
    """The lower-case words, without punctuation, of each turn in which `seat` only spoke."""
    return [
        [word.strip(".,:;!?") for word in turn.action.argument.lower().split()]
        for turn in turns
        if turn.seat == seat and turn.action.type is ActionType.SPEAK
    ]


def refuses(words: list[str]) -> bool:
    """Whether a sentence of these words says that something is not wanted."""
    return any(word in _NEGATIONS or word.endswith("n't") for word in words)


_SPECIAL = re.compile(r"[\\.^$*+?{}\[\]|()]")
"""What a regular expression reads as more than itself; `re.escape` takes spaces for such, too."""

_NEGATIONS = frozenset({"no", "not", "never", "without"})


def _distance(deal: Deal, other: Deal) -> int:
    return sum(abs(a - b) for a, b in zip(deal, other, strict=True))
