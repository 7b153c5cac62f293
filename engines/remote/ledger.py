"""The ledger of all remote calls: it reserves a call's worst-case cost, then settles the real one.

Settled, uncertain and reserved costs together never exceed the budget, as long as no provider bills
more than a call's worst case; where one does, the call is counted as exceeding.

The ledger survives its process: a call is written to the file before it is sent, and calls that
were under way when a process was killed count as uncertain from then on. A loss of power may take
the calls since the last `flush` out of it.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from engines.chat import ChatRequest
from engines.remote.ledger_file import LedgerFile
from engines.remote.prices import Price, why_unknown
from engines.remote.token_bound import prompt_tokens_bound
from engines.remote.usage_totals import (
    NUSD_PER_USD,
    Account,
    UsageReport,
    UsageTotals,
    dollars,
    nano_dollars,
)
from envs.errors import BudgetError, ConfigError, StoreError


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call that is about to be made.

    Attributes:
        model, purpose: the account that it is counted under.
        price: None when it is not known.
        prompt_tokens: an upper bound.
        max_tokens: the reply is cut after that many.
    """

    model: str
    purpose: str
    price: Price | None
    prompt_tokens: int
    max_tokens: int

    @classmethod
    def of(cls, request: ChatRequest, *, model: str, price: Price | None) -> Self:
        """The call that sends this request to a model."""
        bound = prompt_tokens_bound(request)
        return cls(model, request.purpose, price, bound, request.max_tokens)

    @property
    def worst_nusd(self) -> int | None:
        """The most that it can cost in nano-dollars; None when the price is not known."""
        if self.price is None:
            return None
        return self.price.cost_nusd(self.prompt_tokens, self.max_tokens)

    def believed(self, usage: Usage | None) -> Usage | None:
        """The usage that was reported; None for far more tokens than this call can have taken."""
        if (
            usage is None
            or usage.prompt_tokens > MOST_BELIEVED * self.prompt_tokens
            or usage.completion_tokens > MOST_BELIEVED * (self.prompt_tokens + self.max_tokens)
        ):
            return None
        return usage


MOST_BELIEVED: Final = 10
"""How many times the upper bound of its tokens a call may be said to have taken."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens that a provider bills for one call.

    Attributes:
        prompt_tokens: cached ones included.
        completion_tokens: those of hidden reasoning included.
        cached_prompt_tokens: those that it found in its own cache and bills at that rate.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Reservation:
    """Permission to make one attempt; it must be settled or released exactly once."""

    id: int
    account: Account
    price: Price | None
    worst_nusd: int | None


class Ledger:
    """Counts and limits the costs of all remote calls of a process, also of concurrent ones.

    Args:
        path: a file that one process at a time may open, and that a resumed run goes on with; None
            keeps the ledger in memory.
        budget_usd: no call is allowed that might exceed it; None is no limit.
        max_calls: no further call is allowed after that many, those of earlier processes included;
            refused ones, which were not billed, do not count.
    """

    def __init__(
        self, path: Path | None, *, budget_usd: float | None = None, max_calls: int | None = None
    ) -> None:
        if budget_usd is not None and not (math.isfinite(budget_usd) and budget_usd >= 0):
            raise ConfigError(f"budget_usd is {budget_usd}, but must be null, or 0 or more.")
        if max_calls is not None and max_calls < 0:
            raise ConfigError(f"max_calls is {max_calls}, but must be null, or 0 or more.")
        self._budget_nusd = None if budget_usd is None else nano_dollars(budget_usd)
        self._max_calls = max_calls
        self._file = LedgerFile(path)
        self._open: dict[int, Reservation] = {}
        self._last_id = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._accounts = self._file.load()
        totals = UsageReport.of(self._accounts)
        self._ended_calls = totals.calls
        self._spent_nusd = totals.settled_nusd + totals.uncertain_nusd
        self._reserved_nusd = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; calls that are still under way will count as uncertain."""
        self._file.close()

    def flush(self) -> None:
        """Wait until all that was counted so far is on disk."""
        self._file.flush()

    def reserve(self, call: PlannedCall) -> Reservation:
        """Reserve the worst-case cost of a call, and count the call.

        Raises:
            BudgetError: the worst case, or one more call, does not fit.
            ConfigError: there is a budget, but the call has no known price.
        """
        worst = call.worst_nusd
        if worst is None and self._budget_nusd is not None:
            raise ConfigError(
                f"there is a budget of {dollars(self._budget_nusd)}, but {why_unknown(call.model)}"
                " Or set budget_usd=null, and limit the calls by max_calls."
            )
        if objection := self._objection(call, worst or 0):
            raise BudgetError(objection)
        account = Account(call.purpose, call.model)
        reservation = Reservation(self._last_id + 1, account, call.price, worst)
        self._file.add_reservation(reservation.id, account, worst)
        self._last_id = reservation.id
        self._open[reservation.id] = reservation
        self._reserved_nusd += worst or 0
        return reservation

    async def reserve_when_possible(self, call: PlannedCall) -> Reservation:
        """Reserve as soon as it fits: calls under way mostly cost less than was reserved for them.

        Raises:
            BudgetError: it would not fit even if the calls under way cost nothing.
            ConfigError: there is a budget, but the call has no known price.
        """
        while True:
            try:
                return self.reserve(call)
            except BudgetError:
                if not self._may_fit_later(call):
                    raise
            ended = asyncio.get_running_loop().create_future()
            self._waiting.append(ended)
            await ended

    def settle(self, reservation: Reservation, usage: Usage | None) -> float | None:
        """Record what a call was billed.

        Args:
            usage: None when the provider did not say: then the worst case counts as uncertain.

        Returns:
            The cost in dollars; None when the price or the usage is not known.
        """
        price = reservation.price
        if usage is None:
            if price is not None and price.is_free:
                usage = Usage(0, 0)
            else:
                self.release(reservation, was_billed=True)
                return None
        tokens = UsageTotals(
            prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens
        )
        if price is None:
            self._end(reservation, tokens + UsageTotals(calls=1, unknown_price_calls=1))
            return None
        cost = price.cost_nusd(
            usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens
        )
        exceeds = cost > (reservation.worst_nusd or 0)
        booked = UsageTotals(
            calls=1, settled_nusd=cost, free_calls=price.is_free, exceeding_calls=exceeds
        )
        self._end(reservation, tokens + booked)
        return cost / NUSD_PER_USD

    def release(self, reservation: Reservation, *, was_billed: bool | None) -> None:
        """Record an attempt that gave no answer.

        Args:
            was_billed: False if surely not (429, a refused connection); None if that cannot be
                known (cut after sending), True if it surely was but not how much. In both cases
                the worst case stays counted, as uncertain.
        """
        self._end(
            reservation,
            UsageTotals(refused_calls=1)
            if was_billed is False
            else UsageTotals.uncertain(reservation.worst_nusd),
        )

    def count_cached(self, *, purpose: str, model: str) -> None:
        """Count an answer that came from the store, without a call."""
        account = Account(purpose, model)
        totals = self._accounts.get(account, UsageTotals()) + UsageTotals(cached_answers=1)
        self._file.set_totals(account, totals)
        self._accounts[account] = totals

    def totals(self) -> UsageReport:
        """Everything counted so far, by this process and by earlier ones with the same file."""
        accounts = dict(self._accounts)
        for reservation in self._open.values():
            under_way = UsageTotals(
                calls=1, open_calls=1, reserved_nusd=reservation.worst_nusd or 0
            )
            accounts[reservation.account] = (
                accounts.get(reservation.account, UsageTotals()) + under_way
            )
        return UsageReport.of(accounts)

    def _objection(self, call: PlannedCall, worst_nusd: int) -> str | None:
        """Why a call must not be made now; None if it may."""
        calls = self._ended_calls + len(self._open)
        if self._max_calls is not None and calls >= self._max_calls:
            return (
                f"max_calls is {self._max_calls:,}, and {calls:,} calls were made, of which "
                f"{len(self._open):,} are under way: raise max_calls and resume the run."
            )
        if self._budget_nusd is None or worst_nusd == 0:
            return None
        left = self._budget_nusd - self._spent_nusd - self._reserved_nusd
        if worst_nusd <= left:
            return None
        return (
            f"the next {call.purpose} call to {call.model} may cost {dollars(worst_nusd)}, but of "
            f"the budget of {dollars(self._budget_nusd)} only {dollars(max(left, 0))} is left: "
            f"{dollars(self._spent_nusd)} is spent and {dollars(self._reserved_nusd)} reserved for "
            "calls under way; raise budget_usd and resume the run, or lower max_tokens."
        )

    def _may_fit_later(self, call: PlannedCall) -> bool:
        """Whether a call that does not fit now would fit if all calls under way cost nothing."""
        if self._max_calls is not None and self._ended_calls >= self._max_calls:
            return False
        worst = call.worst_nusd or 0
        return self._budget_nusd is None or self._spent_nusd + worst <= self._budget_nusd

    def _end(self, reservation: Reservation, booked: UsageTotals) -> None:
        if reservation.id not in self._open:
            raise StoreError(
                f"reservation {reservation.id} is not open: settle or release each one once."
            )
        account = reservation.account
        totals = self._accounts.get(account, UsageTotals()) + booked
        self._file.end_reservation(reservation.id, account, totals)
        del self._open[reservation.id]
        self._accounts[account] = totals
        self._ended_calls += booked.calls
        self._spent_nusd += booked.settled_nusd + booked.uncertain_nusd
        self._reserved_nusd -= reservation.worst_nusd or 0
        waiting, self._waiting = self._waiting, []
        for ended in waiting:
            if not ended.done():  # cancelled while it waited
                ended.set_result(None)
