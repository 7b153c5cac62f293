"""What was called and what it cost, counted: sums that people and summaries read.

Money is kept in whole nano-dollars, because floats that are added a million times no longer add up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import ROUND_FLOOR, Decimal
from typing import Any, Self

NUSD_PER_USD = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of calls, tokens and money that can be added.

    Attributes:
        calls: attempts that were billed or may have been, those under way included.
        open_calls: of these, those under way.
        uncertain_calls: of these, those of which nobody knows whether or how much was billed.
        unknown_price_calls: of these, those that ended and whose model has no known price.
        free_calls: of these, those to models that cost nothing.
        exceeding_calls: of these, those that were billed more than was reserved for them.
        refused_calls: attempts, not among `calls`, that were surely not billed.
        cached_answers: answers from the store, for which nobody was called.
        prompt_tokens: as billed, cached ones included.
        settled_nusd: what was billed, in nano-dollars.
        uncertain_nusd: at most so much more was billed.
        reserved_nusd: at most so much will be billed for the calls under way.
    """

    calls: int = 0
    open_calls: int = 0
    uncertain_calls: int = 0
    unknown_price_calls: int = 0
    free_calls: int = 0
    exceeding_calls: int = 0
    refused_calls: int = 0
    cached_answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    settled_nusd: int = 0
    uncertain_nusd: int = 0
    reserved_nusd: int = 0

    @classmethod
    def uncertain(cls, worst_nusd: int | None) -> Self:
        """One call that may have been billed, at most that much; None when no price is known."""
        return cls(
            calls=1,
            uncertain_calls=1,
            unknown_price_calls=int(worst_nusd is None),
            uncertain_nusd=worst_nusd or 0,
        )

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, name) + getattr(other, name) for name in COUNTS))

    @property
    def settled_usd(self) -> float:
        """What was billed."""
        return self.settled_nusd / NUSD_PER_USD

    @property
    def uncertain_usd(self) -> float:
        """At most so much more was billed."""
        return self.uncertain_nusd / NUSD_PER_USD

    @property
    def reserved_usd(self) -> float:
        """At most so much will be billed for the calls under way."""
        return self.reserved_nusd / NUSD_PER_USD

    def describe(self) -> str:
        """All that is not zero, for people.

        For example "412 calls, $1.23 settled, at most $0.0400 uncertain, 120 answers from the
        store".
        """
        paid = self.calls - self.open_calls > self.free_calls + self.unknown_price_calls
        parts = [
            _counted(self.calls, "call"),
            f"{dollars(self.settled_nusd)} settled" if paid else "",
            f"at most {dollars(self.uncertain_nusd)} uncertain" if self.uncertain_nusd else "",
            f"at most {dollars(self.reserved_nusd)} under way" if self.reserved_nusd else "",
            f"{self.unknown_price_calls:,} of unknown price" if self.unknown_price_calls else "",
            f"{self.free_calls:,} free" if self.free_calls else "",
            f"{self.exceeding_calls:,} above what was reserved" if self.exceeding_calls else "",
            f"{self.refused_calls:,} refused and not billed" if self.refused_calls else "",
            f"{_counted(self.cached_answers, 'answer')} from the store"
            if self.cached_answers
            else "",
        ]
        return ", ".join(part for part in parts if part)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: all counts, and the money in dollars."""
        counts = {name: getattr(self, name) for name in COUNTS if not name.endswith("_nusd")}
        money = {name: getattr(self, name) for name in ("settled_usd", "uncertain_usd")}
        return counts | money | {"reserved_usd": self.reserved_usd}


COUNTS = tuple(count.name for count in fields(Tally))


@dataclass(frozen=True, slots=True)
class Account:
    """What a call was made for, and whom it went to."""

    purpose: str
    model: str


@dataclass(frozen=True, slots=True)
class Totals(Tally):
    """The tally of all calls, and the same divided by purpose and by model."""

    by_purpose: Mapping[str, Tally] = field(default_factory=dict)
    by_model: Mapping[str, Tally] = field(default_factory=dict)

    @classmethod
    def of(cls, tallies: Mapping[Account, Tally]) -> Self:
        """Add up the tallies of all accounts."""
        everything = Tally()
        by_purpose: defaultdict[str, Tally] = defaultdict(Tally)
        by_model: defaultdict[str, Tally] = defaultdict(Tally)
        for account, tally in tallies.items():
            everything += tally
            by_purpose[account.purpose] += tally
            by_model[account.model] += tally
        counts = {name: getattr(everything, name) for name in COUNTS}
        return cls(**counts, by_purpose=dict(by_purpose), by_model=dict(by_model))

    def as_dict(self) -> dict[str, Any]:
        """For JSON: all counts, the money in dollars, and both again by purpose and model."""
        return Tally.as_dict(self) | {
            "by_purpose": {name: tally.as_dict() for name, tally in self.by_purpose.items()},
            "by_model": {name: tally.as_dict() for name, tally in self.by_model.items()},
        }


def dollars(nusd: int) -> str:
    """Money for people: to the cent from a dollar on, to a hundredth of a cent below."""
    if 0 < nusd < NUSD_PER_USD // 10_000:
        return "less than $0.0001"
    return f"${nusd / NUSD_PER_USD:,.{2 if nusd >= NUSD_PER_USD or nusd == 0 else 4}f}"


def nano_dollars(usd: float) -> int:
    """Dollars as whole nano-dollars, rounded down."""
    return int((Decimal(str(usd)) * NUSD_PER_USD).to_integral_value(ROUND_FLOOR))


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
