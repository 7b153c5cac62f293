"""Tasks of a price in dollars with two targets, as in SOTOPIA's Craigslist scenarios.

SOTOPIA says that a price "significantly" beyond a seat's target is penalised, and that a better one
earns a bonus. In numbers: a seat's limit is a third of the listed price beyond its target, and
beyond that limit it is better off without a deal; nobody pays more than the listed price. Points
are the cents between the price and the limit. Seat 0 buys, seat 1 sells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from envs.errors import ActionError
from envs.referee import attainable, utilities
from envs.scenarios.task import Task
from envs.types import Deal

BUYER, SELLER = 0, 1
_PRICE: Final = re.compile(
    r"(?:price\s*=\s*)?\$?\s*(\d{1,3}(?:,\d{3}){1,3}|\d{1,7})(?:\.(\d{1,2}))?"
)
_COARSE_FROM_CENTS: Final = 1_000_00


@dataclass(frozen=True, slots=True)
class DollarTask(Task):
    """A deal is a price in cents, a multiple of `step_cents` up to `listed_cents`.

    Attributes:
        limits_cents: the most that the buyer would pay, the least that the seller would take.
    """

    listed_cents: int
    limits_cents: tuple[int, int]

    @property
    def step_cents(self) -> int:
        return step_cents(self.listed_cents)

    def deals(self) -> tuple[Deal, ...]:
        return _prices(self.listed_cents, self.step_cents)

    def utility(self, seat: int, deal: Deal) -> float:
        limit = self.limits_cents[seat]
        return float(limit - deal[0] if seat == BUYER else deal[0] - limit)

    def terms(self, seat: int, deal: Deal) -> str:
        return f"price={deal[0] // 100}.{deal[0] % 100:02}"

    def parse_terms(self, seat: int, text: str) -> Deal:
        found = _PRICE.fullmatch(text.strip().lower())
        cents = _cents(found[1], found[2] or "0") if found else 0
        if not 0 < cents <= self.listed_cents or cents % self.step_cents:
            raise ActionError(
                f"The offer {text[:80]!r} is not a price up to {dollars(self.listed_cents)} in "
                f"steps of {dollars(self.step_cents)}; write it as "
                f"{self.terms(seat, (self.listed_cents,))!r}."
            )
        return (cents,)

    def appraise(self, seat: int, deal: Deal) -> tuple[int, ...]:
        return (int(self.utility(seat, deal)),)


def from_targets(listed_cents: int, targets_cents: tuple[int, int]) -> DollarTask:
    """The task for two target prices, in cents.

    A seat's aim is its own target where one price meets both targets, else its side of the Nash
    bargaining solution, which is the price midway between the limits.
    """
    slack = listed_cents / 3
    step = step_cents(listed_cents)
    buyer = min(listed_cents, targets_cents[BUYER] + slack)
    seller = max(0, targets_cents[SELLER] - slack)
    limits = (int(buyer // step) * step, int(-(-seller // step)) * step)
    task = DollarTask((1.0, 1.0), listed_cents, limits)
    at_target = (float(limits[0] - targets_cents[0]), float(targets_cents[1] - limits[1]))
    if any(_meets(task, at_target, deal) for deal in task.deals()):
        return replace(task, aims=at_target)
    return replace(task, aims=utilities(task, attainable(task).nash_deal))


def _meets(task: DollarTask, aims: tuple[float, float], deal: Deal) -> bool:
    return all(task.utility(seat, deal) >= aims[seat] > 0 for seat in (BUYER, SELLER))


def step_cents(listed_cents: int) -> int:
    """The step of prices: ten cents, or a dollar if the listed price is $1000 or more."""
    return 100 if listed_cents >= _COARSE_FROM_CENTS else 10


def dollars(cents: int) -> str:
    """An amount as text, such as $5000 or $17.30."""
    return f"${cents // 100}" if cents % 100 == 0 else f"${cents // 100}.{cents % 100:02}"


def _cents(whole: str, fraction: str) -> int:
    return int(whole.replace(",", "")) * 100 + int(fraction.ljust(2, "0"))


@cache
def _prices(listed_cents: int, step: int) -> tuple[Deal, ...]:
    return tuple((cents,) for cents in range(step, listed_cents + 1, step))
