"""The client of a chat model behind an API: looks answers up, limits, retries and counts calls.

    store -> same request in flight? -> [limiter -> ledger -> one attempt -> ledger]* -> store

The part in brackets is repeated by the only layer of retries; the ledger counts each attempt.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakSet

from engines.chat import ChatRequest, Reply
from engines.remote.answer_store import AnswerStore, answer_key
from engines.remote.contact import MANY, Contact
from engines.remote.endpoint import Endpoint, read_key
from engines.remote.failures import Failure, Remedy
from engines.remote.ledger import Ledger, PlannedCall
from engines.remote.limits import Limiter
from engines.remote.prices import Price, price_of
from engines.remote.retries import Retries
from engines.remote.transport import Answer, Transport
from envs.errors import ConfigError, ParleyError, RemoteError

log = logging.getLogger(__name__)

CHECK_S = 0.05
"""How often it is looked whether others are answered, which tells who is at fault."""


def price_at(endpoint: Endpoint) -> Price | None:
    """An endpoint's price: its own, 0 on this machine, or from the price list; None if unknown."""
    if endpoint.price is not None:
        return endpoint.price
    return Price(0.0, 0.0) if endpoint.is_local else price_of(endpoint.model)


def transport_to(endpoint: Endpoint) -> Transport:
    """The transport for an endpoint: direct to a server with a base URL, else by litellm."""
    if endpoint.base_url is not None:
        from engines.remote.direct_transport import DirectTransport

        return DirectTransport(endpoint)
    from engines.remote.litellm_transport import LitellmTransport

    return LitellmTransport(endpoint)


class RemoteChat:
    """A `Chat` behind an API.

    Args:
        ledger, limiter: the same for all clients of the process.
        answers: the store of answers, which decides what requests it covers; None for no store.
        transport: None chooses by the endpoint at the first call, so that a run that is answered
            from the store alone needs no litellm.
        sleep, rng, clock: sources of the waits between attempts and of their length; for tests.
        go_on: the option that resumes the run, for the error when the endpoint answers nobody.

    Attributes:
        contact: whether the endpoint answers, and whom.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        ledger: Ledger,
        limiter: Limiter,
        answers: AnswerStore | None = None,
        retries: Retries | None = None,
        transport: Transport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        go_on: str = "resume=RUN",
    ) -> None:
        self._endpoint = endpoint
        self.contact = Contact(self.id, go_on)
        self._ledger, self._limiter, self._answers = ledger, limiter, answers
        self._price = price_at(endpoint)
        self._retries = retries or Retries()
        self._transport = transport
        self._sleep, self._rng, self._clock = sleep, rng or random.Random(), clock
        self._has_warned = False
        self._asking = self._in_doubt = 0
        self._in_flight: dict[str, asyncio.Task[Reply]] = {}
        self._sending: WeakSet[asyncio.Task[Any]] = WeakSet()
        self._abandoned: WeakSet[asyncio.Task[Any]] = WeakSet()

    def __repr__(self) -> str:
        return f"RemoteChat({self._endpoint!r})"

    @property
    def id(self) -> str:
        """The model's name, and its server when that is not the provider's."""
        return self._endpoint.id

    async def ask(self, request: ChatRequest) -> Reply:
        """Answer a request from the store, or by as many attempts as it takes."""
        if self._answers is not None and self._answers.covers(request):
            return await self._ask_with_store(self._answers, request)
        return await self._call(request)

    async def close(self) -> None:
        """Close the connections; call it in the event loop that asked.

        It waits for calls in flight, which are paid for: their answers are stored for a resumed
        run.
        """
        while self._in_flight:
            await asyncio.wait(self._in_flight.values())
        if self._transport is not None:
            await self._transport.close()

    async def _ask_with_store(self, answers: AnswerStore, request: ChatRequest) -> Reply:
        """Take the answer from the store or an equal request in flight, or call and store it."""
        key = answer_key(self.id, request, weights_version=self._endpoint.weights_version)
        while True:
            if (kept := answers.get(key)) is not None:
                self.contact.has_answered = True
                self._ledger.count_cached(purpose=request.purpose, model=self.id)
                return kept
            if (other := self._in_flight.get(key)) is None:
                return await self._call_for_all(answers, key, request)
            await asyncio.wait([other])  # if it is cancelled, another caller asks
            if not other.cancelled() and isinstance(failed := other.exception(), ParleyError):
                raise failed

    async def _call_for_all(self, answers: AnswerStore, key: str, request: ChatRequest) -> Reply:
        """Call for all callers of equal requests.

        Once the request is sent, the task goes on even if the caller that began it is cancelled.
        """
        work = asyncio.create_task(self._call_and_store(answers, key, request))
        self._in_flight[key] = work
        work.add_done_callback(lambda _: self._in_flight.pop(key))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if work in self._sending:
                self._abandoned.add(work)
            else:
                work.cancel()
            raise

    async def _call_and_store(self, answers: AnswerStore, key: str, request: ChatRequest) -> Reply:
        reply = await self._call(request)
        answers.put(key, request, reply)  # an empty one too, or a replay would lack it
        return reply

    async def _call(self, request: ChatRequest) -> Reply:
        """Make attempts until one succeeds or no more are allowed."""
        self._asking += 1
        try:
            return await self._attempts(request)
        finally:
            self._asking -= 1

    async def _attempts(self, request: ChatRequest) -> Reply:
        attempt, started_s = 0, self._clock()
        while True:
            attempt += 1
            outcome = await self._attempt(request)
            if isinstance(outcome, Reply):
                self.contact.answered()
                return outcome
            if asyncio.current_task() in self._abandoned:
                raise asyncio.CancelledError
            sentence = f"{self.id} {outcome.reason}"
            if outcome.retry_after_s is not None:  # concerns all callers, also if this one gives up
                patience_s = min(outcome.retry_after_s, self._retries.cap_s)
                self._limiter.pause(self._endpoint.host, patience_s)
            if outcome.remedy is not Remedy.RETRY:
                raise await self._without_remedy(outcome.remedy, sentence)
            waited_s = self._clock() - started_s
            if self._retries.gives_up(attempt, waited_s, is_down=outcome.is_down):
                sentence = f"{sentence}; that was attempt {attempt}, the last one allowed."
                raise self.contact.gave_up(sentence) or RemoteError(sentence, may_pass=True)
            await self._sleep(self._retries.backoff_s(attempt, self._rng))

    async def _without_remedy(self, remedy: Remedy, sentence: str) -> ParleyError:
        """The error of a request that is not tried again."""
        if remedy is Remedy.UNCLEAR:
            await self._others_answered()
            if self.contact.has_answered and self.contact.refused() < MANY:
                remedy = Remedy.OTHER_REQUEST
        if remedy is Remedy.OTHER_REQUEST:
            return RemoteError(f"{sentence.rstrip('.')}; asking again would not help.")
        return ConfigError(sentence)

    async def _others_answered(self) -> None:
        """Wait until any request was answered, or all under way are refused for unclear reasons."""
        self._in_doubt += 1
        try:
            while self._asking > self._in_doubt and not self.contact.has_answered:
                await asyncio.sleep(CHECK_S)
        finally:
            self._in_doubt -= 1

    async def _attempt(self, request: ChatRequest) -> Reply | Failure:
        """Make one attempt: reserve its cost before, settle or release it after, in every case."""
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
            usage = planned.believed(outcome.usage)
            cost_usd = self._ledger.settle(reservation, usage)
        if usage is None and not self._has_warned:
            self._has_warned = True
            log.warning(
                "%s does not say how many tokens it used, or nothing that can be: 0 is written "
                "down, and unless it is free, each call counts as uncertain with the most that it "
                "may cost.",
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
