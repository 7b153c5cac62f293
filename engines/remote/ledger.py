"""The one account of all remote calls: the worst case is reserved before, the cost settled after.

What is settled, uncertain and reserved together never exceeds the budget as long as no provider
bills more than a call's worst case; where one does, the call is counted as exceeding.

The account outlives its process: a call is on file before it is sent, and one that was under way
when a process was killed counts as uncertain for the next.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from engines.chat import ChatRequest
from engines.remote.bounds import prompt_tokens_bound
from engines.remote.ledger_file import LedgerFile
from engines.remote.prices import Price, why_unknown
from engines.remote.tallies import NUSD_PER_USD, Account, Tally, Totals, dollars, nano_dollars
from envs.errors import BudgetError, ConfigError, StoreError


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call that is about to be made.

    Attributes:
        model: the name that its costs are counted under.
        purpose: what its costs are counted under as well.
        price: None when it is not known.
        prompt_tokens: at most so many.
        max_tokens: the reply is cut after that many.
    """

    model: str
    purpose: str
    price: Price | None
    prompt_tokens: int
    max_tokens: int

    @classmethod
    def of(cls, request: ChatRequest, *, model: str, price: Price | None) -> Self:
        """The call that asks a model this request."""
        bound = prompt_tokens_bound(request)
        return cls(model, request.purpose, price, bound, request.max_tokens)

    @property
    def worst_nusd(self) -> int | None:
        """The most that it may cost in nano-dollars; None when the price is not known."""
        if self.price is None:
            return None
        return self.price.cost_nusd(self.prompt_tokens, self.max_tokens)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a provider says it bills for.

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
    """The permission to make one attempt; settle or release it exactly once."""

    id: int
    account: Account
    price: Price | None
    worst_nusd: int | None


class Ledger:
    """One for all remote calls of a process; safe under any number of concurrent coroutines.

    Args:
        path: a file that one process at a time has open, and that a resumed run goes on with; None
            keeps the account in memory.
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
        self._tallies = self._file.load()
        totals = Totals.of(self._tallies)
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

    def reserve(self, call: PlannedCall) -> Reservation:
        """Put the worst case of a call aside, and count the call.

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
        """Reserve as soon as it fits; the calls under way mostly give back more than they cost.

        Raises:
            BudgetError: it does not fit, whatever becomes of the calls under way.
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
        """Book what a call was billed.

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
        tokens = Tally(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
        if price is None:
            self._end(reservation, tokens + Tally(calls=1, unknown_price_calls=1))
            return None
        cost = price.cost_nusd(
            usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens
        )
        exceeds = cost > (reservation.worst_nusd or 0)
        booked = Tally(
            calls=1, settled_nusd=cost, free_calls=price.is_free, exceeding_calls=exceeds
        )
        self._end(reservation, tokens + booked)
        return cost / NUSD_PER_USD

    def release(self, reservation: Reservation, *, was_billed: bool | None) -> None:
        """Book an attempt that gave no answer.

        Args:
            was_billed: False if surely not (429, a refused connection); None if that cannot be
                known (cut after sending), True if it surely was but not how much. In both cases
                the worst case stays counted, as uncertain.
        """
        self._end(
            reservation,
            Tally(refused_calls=1)
            if was_billed is False
            else Tally.uncertain(reservation.worst_nusd),
        )

    def count_cached(self, *, purpose: str, model: str) -> None:
        """Count an answer from the store."""
        account = Account(purpose, model)
        tally = self._tallies.get(account, Tally()) + Tally(cached_answers=1)
        self._file.set_tally(account, tally)
        self._tallies[account] = tally

    def totals(self) -> Totals:
        """All that was counted so far, by this process and by those before it."""
        tallies = dict(self._tallies)
        for reservation in self._open.values():
            under_way = Tally(calls=1, open_calls=1, reserved_nusd=reservation.worst_nusd or 0)
            tallies[reservation.account] = tallies.get(reservation.account, Tally()) + under_way
        return Totals.of(tallies)

    def _objection(self, call: PlannedCall, worst_nusd: int) -> str | None:
        """Why a call must not be made now."""
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
        """Whether a call that does not fit now would, if none under way were billed anything."""
        if self._max_calls is not None and self._ended_calls >= self._max_calls:
            return False
        worst = call.worst_nusd or 0
        return self._budget_nusd is None or self._spent_nusd + worst <= self._budget_nusd

    def _end(self, reservation: Reservation, booked: Tally) -> None:
        if reservation.id not in self._open:
            raise StoreError(
                f"reservation {reservation.id} is not open: settle or release each one once."
            )
        account = reservation.account
        tally = self._tallies.get(account, Tally()) + booked
        self._file.end_reservation(reservation.id, account, tally)
        del self._open[reservation.id]
        self._tallies[account] = tally
        self._ended_calls += booked.calls
        self._spent_nusd += booked.settled_nusd + booked.uncertain_nusd
        self._reserved_nusd -= reservation.worst_nusd or 0
        waiting, self._waiting = self._waiting, []
        for ended in waiting:
            if not ended.done():  # cancelled while it waited
                ended.set_result(None)
