"""Tasks of finding a mutual friend, as in SOTOPIA's MutualFriends scenarios (arXiv 1704.07130)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from envs.errors import ActionError
from envs.scenarios.task import Task
from envs.types import Deal

POINTS: Final = 10
LISTED: Final = 3
"""Naming that many of one's own friends in one turn counts as listing them."""

_WORD: Final = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")


@dataclass(frozen=True, slots=True)
class FriendsTask(Task):
    """The friends of each seat; a deal is an index into `names`.

    Attributes:
        known: each seat's friends by first name, in the order of its goal.
        mutual: the names of those who are in both lists with the same details.
    """

    known: tuple[tuple[str, ...], tuple[str, ...]]
    mutual: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all friends, in alphabetical order."""
        return tuple(sorted({*self.known[0], *self.known[1]}))

    def deals(self) -> tuple[Deal, ...]:
        return tuple((i,) for i in range(len(self.names)))

    def utility(self, seat: int, deal: Deal) -> float:
        return float(POINTS) if self.names[deal[0]] in self.mutual else 0.0

    def terms(self, seat: int, deal: Deal) -> str:
        return self.names[deal[0]]

    def parse_terms(self, seat: int, text: str) -> Deal:
        folded = [name.casefold() for name in self.names]
        name = text.strip().casefold()
        if name not in folded:
            # The names are not listed here: half of them are the other side's.
            raise ActionError(
                f"The offer {text[:80]!r} is not the first name of anybody's friend; write it as "
                f"'offer {self.known[seat][0]}'."
            )
        return (folded.index(name),)

    def appraise(self, seat: int, deal: Deal) -> tuple[int, ...]:
        return (int(self.utility(seat, deal)),)

    def leaks(self, seat: int, text: str) -> bool:
        """Whether `text` lists the seat's friends, which its goal forbids."""
        words = set(_WORD.findall(text))
        return sum(name in words for name in self.known[seat]) >= LISTED
