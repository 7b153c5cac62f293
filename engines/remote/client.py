"""A chat model behind an API as players and judges see it: one question, one answer, paid once.

    store -> the same under way? -> [limiter -> ledger -> one attempt -> ledger]* -> store

What is in brackets is repeated by one layer of retries; each attempt is reserved and counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakSet

from engines.chat import ChatRequest, Reply
from engines.remote.answers import Answers, answer_key
from engines.remote.ledger import Ledger, PlannedCall
from engines.remote.limits import Limiter
from engines.remote.prices import Price, price_of
from engines.remote.retries import Retries
from engines.remote.transport import Answer, Endpoint, Failure, Remedy, Transport, read_key
from envs.errors import ConfigError, ParleyError, RemoteError

log = logging.getLogger(__name__)


def price_at(endpoint: Endpoint) -> Price | None:
    """What an endpoint charges: as it says, nothing on this machine, or as listed; or unknown."""
    if endpoint.price is not None:
        return endpoint.price
    return Price(0.0, 0.0) if endpoint.is_local else price_of(endpoint.model)


def transport_to(endpoint: Endpoint) -> Transport:
    """Directly to a server with a base URL, by litellm to a model's maker."""
    if endpoint.base_url is not None:
        from engines.remote.direct import DirectTransport

        return DirectTransport(endpoint)
    from engines.remote.providers import LitellmTransport

    return LitellmTransport(endpoint)


class RemoteChat:
    """A `Chat` behind an API.

    Args:
        ledger: one for all calls of the process.
        limiter: likewise.
        answers: the store of answers; None keeps none. It says which requests it covers.
        transport: the way to the model; None chooses by the endpoint, with the first call: whoever
            is answered from the store alone needs no litellm.
        sleep, rng: of what the waits between attempts are made; for tests.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        ledger: Ledger,
        limiter: Limiter,
        answers: Answers | None = None,
        retries: Retries | None = None,
        transport: Transport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._ledger, self._limiter, self._answers = ledger, limiter, answers
        self._price = price_at(endpoint)
        self._retries = retries or Retries()
        self._transport = transport
        self._sleep, self._rng = sleep, rng or random.Random()
        self._has_warned = False
        self._under_way: dict[str, asyncio.Task[Reply]] = {}
        self._sending: WeakSet[asyncio.Task[Any]] = WeakSet()
        self._abandoned: WeakSet[asyncio.Task[Any]] = WeakSet()

    def __repr__(self) -> str:
        return f"RemoteChat({self._endpoint!r})"

    @property
    def id(self) -> str:
        """The model's name, and where it is served when that is not its maker."""
        return self._endpoint.id

    async def ask(self, request: ChatRequest) -> Reply:
        """Answer once, from the store or by as many attempts as it takes."""
        if self._answers is not None and self._answers.covers(request):
            return await self._remembered(self._answers, request)
        return await self._call(request)

    async def close(self) -> None:
        """Close the connections; belongs into the event loop that asked.

        What is under way is waited for: it is paid for, and a run that is resumed finds its answer.
        """
        while self._under_way:
            await asyncio.wait(self._under_way.values())
        if self._transport is not None:
            await self._transport.close()

    async def _remembered(self, answers: Answers, request: ChatRequest) -> Reply:
        """From the store, from whoever asks the same just now, or by a call that is then kept."""
        key = answer_key(self.id, request, weights_version=self._endpoint.weights_version)
        while True:
            if (kept := answers.get(key)) is not None:
                self._ledger.count_cached(purpose=request.purpose, model=self.id)
                return kept
            if (other := self._under_way.get(key)) is None:
                return await self._ask_for_all(answers, key, request)
            await asyncio.wait([other])  # if it is cancelled, another one asks
            if not other.cancelled() and isinstance(failed := other.exception(), ParleyError):
                raise failed

    async def _ask_for_all(self, answers: Answers, key: str, request: ChatRequest) -> Reply:
        """Ask for all who want the same, in a task that outlives who began it once it has sent."""
        work = asyncio.create_task(self._call_and_keep(answers, key, request))
        self._under_way[key] = work
        work.add_done_callback(lambda _: self._under_way.pop(key))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if work in self._sending:
                self._abandoned.add(work)
            else:
                work.cancel()
            raise

    async def _call_and_keep(self, answers: Answers, key: str, request: ChatRequest) -> Reply:
        reply = await self._call(request)
        answers.put(key, request, reply)  # an empty one too, or a replay would lack it
        return reply

    async def _call(self, request: ChatRequest) -> Reply:
        """As many attempts as it takes and is allowed."""
        attempt = 0
        while True:
            attempt += 1
            outcome = await self._attempt(request)
            if isinstance(outcome, Reply):
                return outcome
            if asyncio.current_task() in self._abandoned:
                raise asyncio.CancelledError
            sentence = f"{self.id} {outcome.reason}"
            if outcome.retry_after_s is not None:  # concerns all callers, also if we give up
                patience_s = min(outcome.retry_after_s, self._retries.cap_s)
                self._limiter.pause(self._endpoint.host, patience_s)
            if outcome.remedy is Remedy.OTHER_CONFIG:
                raise ConfigError(sentence)
            if outcome.remedy is Remedy.OTHER_REQUEST:
                raise RemoteError(f"{sentence}; asking again would not help.")
            if attempt >= self._retries.max_attempts:
                raise RemoteError(f"{sentence}; that was attempt {attempt}, the last one allowed.")
            await self._sleep(self._retries.backoff_s(attempt, self._rng))

    async def _attempt(self, request: ChatRequest) -> Reply | Failure:
        """One attempt, reserved before and settled or released after, whatever becomes of it."""
        planned = PlannedCall.of(request, model=self.id, price=self._price)
        if self._transport is None:
            self._transport = transport_to(self._endpoint)
        async with self._limiter.slot(self._endpoint.host, request):
            key = read_key(self._endpoint)
            reservation = await self._ledger.reserve_when_possible(planned)
            outcome: Answer | Failure | None = None
            this = asyncio.current_task()
            assert this is not None  # coroutines of an event loop run in tasks
            self._sending.add(this)
            try:
                outcome = await self._transport.send(request, key)
            finally:
                self._sending.discard(this)
                if outcome is None:  # cancelled: perhaps it was sent
                    self._ledger.release(reservation, was_billed=None)
            if isinstance(outcome, Failure):
                self._ledger.release(reservation, was_billed=outcome.was_billed)
                return outcome
            usage = outcome.usage
            cost_usd = self._ledger.settle(reservation, usage)
        if usage is None and not self._has_warned:
            self._has_warned = True
            log.warning(
                "%s does not say how many tokens it used: 0 is written down, and unless it is "
                "free, each call counts as uncertain with the most that it may cost.",
                self.id,
            )
        return Reply(
            text=outcome.text,
            model=outcome.model,
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
            cost_usd=cost_usd,
            finish_reason=outcome.finish_reason,
        )
