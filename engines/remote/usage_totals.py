"""Totals of calls, tokens and costs, by ledger account and together.

Money is counted in whole nano-dollars, because sums of a million floats are inexact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import ROUND_FLOOR, Decimal
from typing import Any, Self

NUSD_PER_USD = 1_000_000_000


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Numbers of calls, tokens and nano-dollars, which can be added up.

    Attributes:
        calls: attempts that were billed or may have been, those under way included.
        open_calls: of these, those under way.
        uncertain_calls: of these, those of which it is unknown whether or how much was billed.
        unknown_price_calls: of these, those that ended and whose model has no known price.
        free_calls: of these, those to models that cost nothing.
        exceeding_calls: of these, those that were billed more than was reserved for them.
        refused_calls: attempts, not among `calls`, that were surely not billed.
        cached_answers: answers from the store, without a call.
        prompt_tokens: as billed, cached ones included.
        settled_nusd: what was billed, in nano-dollars.
        uncertain_nusd: the most that may have been billed beyond that.
        reserved_nusd: the most that the calls under way can cost.
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

    def __add__(self, other: UsageTotals) -> UsageTotals:
        return UsageTotals(*(getattr(self, name) + getattr(other, name) for name in COUNT_NAMES))

    @property
    def settled_usd(self) -> float:
        """What was billed, in dollars."""
        return self.settled_nusd / NUSD_PER_USD

    @property
    def uncertain_usd(self) -> float:
        """The most that may have been billed beyond that, in dollars."""
        return self.uncertain_nusd / NUSD_PER_USD

    @property
    def reserved_usd(self) -> float:
        """The most that the calls under way can cost, in dollars."""
        return self.reserved_nusd / NUSD_PER_USD

    def describe(self) -> str:
        """A phrase with everything that is not zero.

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
        counts = {name: getattr(self, name) for name in COUNT_NAMES if not name.endswith("_nusd")}
        money = {name: getattr(self, name) for name in ("settled_usd", "uncertain_usd")}
        return counts | money | {"reserved_usd": self.reserved_usd}


COUNT_NAMES = tuple(count.name for count in fields(UsageTotals))


@dataclass(frozen=True, slots=True)
class Account:
    """What calls are counted under: their purpose and their model."""

    purpose: str
    model: str


@dataclass(frozen=True, slots=True)
class UsageReport(UsageTotals):
    """The totals of all calls, and the same by purpose and by model."""

    by_purpose: Mapping[str, UsageTotals] = field(default_factory=dict)
    by_model: Mapping[str, UsageTotals] = field(default_factory=dict)

    @classmethod
    def of(cls, accounts: Mapping[Account, UsageTotals]) -> Self:
        """Add up the totals of all accounts."""
        everything = UsageTotals()
        by_purpose: defaultdict[str, UsageTotals] = defaultdict(UsageTotals)
        by_model: defaultdict[str, UsageTotals] = defaultdict(UsageTotals)
        for account, totals in accounts.items():
            everything += totals
            by_purpose[account.purpose] += totals
            by_model[account.model] += totals
        counts = {name: getattr(everything, name) for name in COUNT_NAMES}
        return cls(**counts, by_purpose=dict(by_purpose), by_model=dict(by_model))

    def as_dict(self) -> dict[str, Any]:
        """For JSON: all counts, the money in dollars, and both again by purpose and model."""
        return UsageTotals.as_dict(self) | {
            "by_purpose": {name: totals.as_dict() for name, totals in self.by_purpose.items()},
            "by_model": {name: totals.as_dict() for name, totals in self.by_model.items()},
        }


def dollars(nusd: int) -> str:
    """An amount as text: to the cent from a dollar on, to a hundredth of a cent below."""
    if 0 < nusd < NUSD_PER_USD // 10_000:
        return "less than $0.0001"
    return f"${nusd / NUSD_PER_USD:,.{2 if nusd >= NUSD_PER_USD or nusd == 0 else 4}f}"


def nano_dollars(usd: float) -> int:
    """Dollars as whole nano-dollars, rounded down."""
    return int((Decimal(str(usd)) * NUSD_PER_USD).to_integral_value(ROUND_FLOOR))


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
