"""The contract of a verifiable task: private points over a finite set of possible deals.

A family is a frozen dataclass that derives from `Task`. Everything here is pure: the same task and
deal always give the same points, so that a goal is computed, never guessed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from envs.types import Deal


@dataclass(frozen=True, slots=True)
class Task(ABC):
    """What a program knows of a two-seat scenario.

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
        """How `seat` words `deal` as an offer; `parse_terms` reads it back."""

    @abstractmethod
    def parse_terms(self, seat: int, text: str) -> Deal:
        """The deal that `seat` offers by `text`.

        Raises:
            ActionError: a sentence that says what was got and what an offer looks like.
        """

    @abstractmethod
    def appraise(self, seat: int, deal: Deal) -> tuple[int, ...]:
        """How one reckons the points of `deal`: a running sum that ends in the utility."""

    def no_deal(self, seat: int) -> float:
        """The points of `seat` when nothing is agreed (the disagreement point)."""
        return 0.0

    def leaks(self, seat: int, text: str) -> bool:
        """Whether `text`, said by `seat`, gives away what its goal asks it to keep."""
        return False
