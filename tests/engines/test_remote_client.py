"""One question, one answer, paid once: the store, shared calls, limits, cancellation and keys."""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.chat import ChatRequest, Message
from engines.remote.answer_store import AnswerStore
from engines.remote.client import RemoteChat, price_at, transport_to
from engines.remote.contact import MANY
from engines.remote.direct_transport import DirectTransport
from engines.remote.endpoint import Endpoint
from engines.remote.failures import Failure, Remedy
from engines.remote.ledger import Ledger, Usage
from engines.remote.limits import Limiter
from engines.remote.prices import Price
from engines.remote.retries import Retries
from engines.remote.transport import Answer
from envs.errors import ConfigError, OutageError, ParleyError, RemoteError
from tests.engines.remote_provider import FAULTS, Provider

ENDPOINT = Endpoint("model-a", base_url="http://127.0.0.1:1/v1", price=Price(1.0, 2.0))
AGAIN = Failure("broke off", Remedy.RETRY, was_billed=None)
BUSY = Failure("answered 429", Remedy.RETRY, was_billed=False)
KEY = "sk-canary-8e1f2a"


def question(text: str = "Hello", **options: Any) -> ChatRequest:
    return ChatRequest(
        (Message("user", text),), **({"temperature": 0.0, "max_tokens": 9} | options)
    )


def answer(text: str = "Hi.") -> Answer:
    return Answer(text, "model-a-2026", "stop", Usage(1000, 10))


class Scripted:
    """A transport that answers by script, then with its own text; it can be held up."""

    def __init__(self, *script: Answer | Failure) -> None:
        self.script = list(script)
        self.asked: list[ChatRequest] = []
        self.free = asyncio.Event()
        self.free.set()

    async def send(self, request: ChatRequest, key: str | None) -> Answer | Failure:
        self.asked.append(request)
        await self.free.wait()
        return self.script.pop(0) if self.script else answer()

    async def close(self) -> None:
        pass


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(None)


def chat_over(transport: Any, ledger: Ledger, **options: Any) -> RemoteChat:
    options = {"retries": Retries(max_attempts=4, base_s=0.0), "limiter": Limiter()} | options
    return RemoteChat(ENDPOINT, transport=transport, ledger=ledger, **options)


def test_an_answer_and_its_cost(ledger: Ledger) -> None:
    chat = chat_over(Scripted(), ledger)
    reply = asyncio.run(chat.ask(question(purpose="judge")))
    assert (reply.text, reply.model, reply.finish_reason) == ("Hi.", "model-a-2026", "stop")
    assert (reply.prompt_tokens, reply.completion_tokens) == (1000, 10)
    assert reply.cost_usd == pytest.approx(1000 * 1e-6 + 10 * 2e-6)
    assert not reply.is_cached
    assert ledger.totals().by_purpose["judge"].settled_usd == reply.cost_usd
    assert list(ledger.totals().by_model) == ["model-a@127.0.0.1:1"] == [chat.id]


def test_failures_are_retried_and_booked_each(ledger: Ledger) -> None:
    transport = Scripted(AGAIN, BUSY, AGAIN)
    asyncio.run(chat_over(transport, ledger).ask(question()))
    totals = ledger.totals()
    assert len(transport.asked) == 4
    assert (totals.calls, totals.uncertain_calls, totals.refused_calls) == (3, 2, 1)


@pytest.mark.parametrize(
    ("remedy", "error"), [(Remedy.OTHER_CONFIG, ConfigError), (Remedy.OTHER_REQUEST, RemoteError)]
)
def test_what_no_retry_helps_is_not_retried(
    ledger: Ledger, remedy: Remedy, error: type[ParleyError]
) -> None:
    transport = Scripted(Failure("answered 400", remedy, was_billed=False))
    with pytest.raises(error, match=r"model-a@127\.0\.0\.1:1 answered 400"):
        asyncio.run(chat_over(transport, ledger).ask(question()))
    assert len(transport.asked) == ledger.totals().refused_calls == 1


UNCLEAR = Failure("answered 400: no", Remedy.UNCLEAR, was_billed=False)


def test_a_refusal_of_unclear_cause_ends_the_run_where_nothing_was_answered(ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match="answered 400: no"):
        asyncio.run(chat_over(Scripted(UNCLEAR), ledger).ask(question()))


def test_a_refusal_of_unclear_cause_is_one_requests_fault_where_others_were_answered(
    ledger: Ledger, tmp_path: Path
) -> None:
    chat = chat_over(Scripted(answer(), UNCLEAR, answer()), ledger)
    asyncio.run(chat.ask(question()))
    with pytest.raises(RemoteError, match="asking again would not help") as caught:
        asyncio.run(chat.ask(question("odd")))
    assert not caught.value.may_pass
    asyncio.run(chat.ask(question()))
    with AnswerStore(tmp_path / "answers.sqlite") as answers:  # a resumed run's
        asyncio.run(chat_over(Scripted(), ledger, answers=answers).ask(question()))
        resumed = chat_over(Scripted(UNCLEAR), ledger, answers=answers)
        asyncio.run(resumed.ask(question()))
        with pytest.raises(RemoteError):
            asyncio.run(resumed.ask(question("odd")))


def test_whether_others_are_answered_is_waited_for(ledger: Ledger) -> None:
    class Odd(Scripted):
        async def send(self, request: ChatRequest, key: str | None) -> Answer | Failure:
            if request.messages[0].content == "odd":
                return UNCLEAR
            await asyncio.sleep(0.02)
            return answer()

    async def main(chat: RemoteChat) -> list[Any]:
        calls = (chat.ask(question(text)) for text in ("odd", "even"))
        return await asyncio.gather(*calls, return_exceptions=True)

    odd, even = asyncio.run(main(chat_over(Odd(), ledger)))
    assert isinstance(odd, RemoteError)
    assert even.text == "Hi."


def test_many_refusals_in_a_row_are_the_options_fault(ledger: Ledger) -> None:
    chat = chat_over(Scripted(answer(), *[UNCLEAR] * MANY), ledger)
    asyncio.run(chat.ask(question()))
    for _ in range(MANY - 1):
        with pytest.raises(RemoteError):
            asyncio.run(chat.ask(question("odd")))
    with pytest.raises(ConfigError, match="answered 400"):
        asyncio.run(chat.ask(question("odd")))


ONCE = Retries(max_attempts=1)


def test_an_endpoint_that_answers_nobody_any_more_ends_the_run(ledger: Ledger) -> None:
    chat = chat_over(Scripted(answer(), *[AGAIN] * 99), ledger, retries=ONCE, go_on="resume=a/run")
    asyncio.run(chat.ask(question()))
    for _ in range(MANY - 1):
        with pytest.raises(RemoteError, match="the last one allowed") as caught:
            asyncio.run(chat.ask(question()))
        assert caught.value.may_pass
    with pytest.raises(OutageError, match=rf"no answer to the last {MANY} requests.*resume=a/run"):
        asyncio.run(chat.ask(question()))


def test_failures_among_answers_are_no_outage(ledger: Ledger) -> None:
    chat = chat_over(Scripted(*[AGAIN, answer()] * 30), ledger, retries=ONCE)
    for _ in range(30):
        with pytest.raises(RemoteError):
            asyncio.run(chat.ask(question()))
        asyncio.run(chat.ask(question()))
    chat.contact.check()
    chat.contact.begin()
    chat.contact.check()


def test_work_for_which_every_request_failed_is_not_kept(ledger: Ledger, tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "answers.sqlite") as answers:
        chat = chat_over(Scripted(answer(), AGAIN), ledger, retries=ONCE, answers=answers)
        asyncio.run(chat.ask(question()))
        chat.contact.begin()
        asyncio.run(chat.ask(question()))  # from the store, which says nothing of today
        with pytest.raises(RemoteError):
            asyncio.run(chat.ask(question("other")))
        with pytest.raises(OutageError, match="no answer to the last request"):
            chat.contact.check()


DOWN = Failure("could not be reached", Remedy.RETRY, was_billed=False, is_down=True)


def test_a_server_that_is_down_is_waited_for(ledger: Ledger) -> None:
    now_s = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    def chat(*script: Failure) -> RemoteChat:
        retries = Retries(max_attempts=2, patience_s=120.0)
        options = {"sleep": sleep, "clock": lambda: now_s, "rng": random.Random(0)}
        return chat_over(Scripted(*script), ledger, retries=retries, **options)

    assert asyncio.run(chat(*[DOWN] * 20).ask(question())).text == "Hi."
    assert 10 < now_s < 100
    now_s = 0.0
    with pytest.raises(RemoteError):
        asyncio.run(chat(*[DOWN] * 999).ask(question()))
    assert 120 <= now_s < 126
    now_s = 0.0
    with pytest.raises(RemoteError, match="attempt 2, the last"):  # not for what may be ours
        asyncio.run(chat(*[AGAIN] * 99).ask(question()))
    assert now_s < 2


def test_waits_between_attempts_grow_with_jitter(ledger: Ledger) -> None:
    waits_s: list[float] = []

    async def sleep(seconds: float) -> None:
        waits_s.append(seconds)

    chat = chat_over(
        Scripted(AGAIN, AGAIN, AGAIN),
        ledger,
        sleep=sleep,
        rng=random.Random(1),
        retries=Retries(max_attempts=4, base_s=8.0),
    )
    asyncio.run(chat.ask(question()))
    rng = random.Random(1)
    assert waits_s == [rng.uniform(0, 8), rng.uniform(0, 16), rng.uniform(0, 32)]


def test_retry_after_pauses_everybody_who_calls_that_server(ledger: Ledger) -> None:
    now_s = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    limiter = Limiter(clock=lambda: now_s, sleep=sleep)
    busy = replace(BUSY, retry_after_s=20.0)
    failing = chat_over(Scripted(busy), ledger, limiter=limiter, retries=Retries(max_attempts=1))
    with pytest.raises(RemoteError, match="answered 429"):
        asyncio.run(failing.ask(question()))
    elsewhere = replace(ENDPOINT, base_url="http://127.0.0.1:2/v1")
    other = RemoteChat(elsewhere, transport=Scripted(), ledger=ledger, limiter=limiter)
    asyncio.run(other.ask(question()))
    assert now_s == 0.0
    asyncio.run(chat_over(Scripted(), ledger, limiter=limiter).ask(question()))
    assert 20.0 <= now_s <= 25.0


def test_no_server_makes_us_wait_for_longer_than_the_cap(ledger: Ledger) -> None:
    now_s = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    chat = chat_over(
        Scripted(replace(BUSY, retry_after_s=86_400.0)),
        ledger,
        limiter=Limiter(clock=lambda: now_s, sleep=sleep),
        retries=Retries(base_s=0.0, cap_s=30.0),
    )
    asyncio.run(chat.ask(question()))
    assert 30.0 <= now_s <= 37.5


def test_a_kept_answer_costs_nothing(ledger: Ledger, tmp_path: Path) -> None:
    transport = Scripted(answer("one"), answer("two"), answer("three"))
    with AnswerStore(tmp_path / "answers.sqlite", policy="all") as answers:
        chat = chat_over(transport, ledger, answers=answers)

        async def ask(**options: Any) -> tuple[str, float | None, bool]:
            reply = await chat.ask(question(temperature=1.0, **options))
            return reply.text, reply.cost_usd, reply.is_cached

        cost = pytest.approx(0.00102)
        assert asyncio.run(ask()) == ("one", cost, False)
        assert asyncio.run(ask(seed=1)) == ("two", cost, False)  # another sample
        assert asyncio.run(ask()) == ("one", 0.0, True)
        assert asyncio.run(ask(purpose="judge")) == ("one", 0.0, True)
    assert (ledger.totals().calls, ledger.totals().cached_answers) == (2, 2)


def test_another_model_or_other_weights_have_other_answers(ledger: Ledger, tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "answers.sqlite") as answers:
        for change in ({}, {"model": "model-b"}, {"weights_version": "7"}):
            endpoint = replace(ENDPOINT, **change)
            chat = RemoteChat(
                endpoint, transport=Scripted(), ledger=ledger, limiter=Limiter(), answers=answers
            )
            assert not asyncio.run(chat.ask(question())).is_cached
            assert asyncio.run(chat.ask(question())).is_cached


def test_what_the_store_does_not_cover_is_asked_each_time(ledger: Ledger, tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "answers.sqlite", policy="greedy") as answers:
        for temperature, calls in ((0.0, 1), (0.7, 2)):
            transport = Scripted()
            chat = chat_over(transport, ledger, answers=answers)
            for _ in range(2):
                asyncio.run(chat.ask(question(temperature=temperature)))
            assert len(transport.asked) == calls


def test_an_empty_answer_is_kept_as_well(ledger: Ledger, tmp_path: Path) -> None:
    """It was paid for, and whoever got it went on from it."""
    with AnswerStore(tmp_path / "answers.sqlite") as answers:
        chat = chat_over(Scripted(answer(""), answer("there")), ledger, answers=answers)
        assert [asyncio.run(chat.ask(question())).text for _ in range(2)] == ["", ""]


def test_offline_nobody_is_called(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with AnswerStore(path) as answers:
        asyncio.run(chat_over(Scripted(), ledger, answers=answers).ask(question()))
    transport = Scripted()
    with AnswerStore(path, offline=True) as answers:
        chat = chat_over(transport, ledger, answers=answers)
        assert asyncio.run(chat.ask(question())).is_cached
        with pytest.raises(RemoteError, match="no answer to this request"):
            asyncio.run(chat.ask(question("Something else")))
    assert transport.asked == []


def test_the_same_question_at_the_same_time_is_asked_once(ledger: Ledger, tmp_path: Path) -> None:
    async def main(chat: RemoteChat, transport: Scripted) -> list[Any]:
        transport.free.clear()
        tasks = [asyncio.create_task(chat.ask(question())) for _ in range(5)]
        await asyncio.sleep(0.01)
        transport.free.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with AnswerStore(tmp_path / "answers.sqlite") as answers:
        transport = Scripted()
        replies = asyncio.run(main(chat_over(transport, ledger, answers=answers), transport))
        assert [reply.is_cached for reply in replies] == [False, True, True, True, True]
        assert len(transport.asked) == 1
    with AnswerStore(tmp_path / "others.sqlite") as answers:  # and a failure is everybody's
        transport = Scripted(replace(AGAIN, remedy=Remedy.OTHER_REQUEST))
        errors = asyncio.run(main(chat_over(transport, ledger, answers=answers), transport))
        assert [type(error) for error in errors] == [RemoteError] * 5
        assert len(transport.asked) == 1
    transport = Scripted()  # without a store each call is its own
    asyncio.run(main(chat_over(transport, ledger), transport))
    assert len(transport.asked) == 5


def others_of_a_cancelled_first(transport: Scripted, ledger: Ledger, folder: Path) -> list[Any]:
    """What two callers get who ask the same as a first one, which is cancelled after it sent."""

    async def main(chat: RemoteChat) -> list[Any]:
        transport.free.clear()
        tasks = [asyncio.create_task(chat.ask(question())) for _ in range(3)]
        await asyncio.sleep(0.01)
        tasks[0].cancel()
        await asyncio.sleep(0.01)
        transport.free.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with AnswerStore(folder / "answers.sqlite") as answers:
        first, *others = asyncio.run(main(chat_over(transport, ledger, answers=answers)))
    assert isinstance(first, asyncio.CancelledError)
    return others


def test_what_was_sent_is_kept_for_the_others_though_the_first_is_cancelled(
    ledger: Ledger, tmp_path: Path
) -> None:
    transport = Scripted()
    second, third = others_of_a_cancelled_first(transport, ledger, tmp_path)
    assert (second.is_cached, third.is_cached) == (True, True)
    assert (ledger.totals().calls, ledger.totals().uncertain_calls) == (1, 0)


def test_when_the_first_of_several_is_cancelled_and_fails_another_one_asks(
    ledger: Ledger, tmp_path: Path
) -> None:
    transport = Scripted(BUSY)
    second, third = others_of_a_cancelled_first(transport, ledger, tmp_path)
    assert (second.is_cached, third.is_cached) == (False, True)
    assert (ledger.totals().calls, ledger.totals().refused_calls) == (1, 1)


def test_what_is_under_way_when_all_is_over_is_kept_and_not_tried_again(
    ledger: Ledger, tmp_path: Path
) -> None:
    """As when a budget ends a run: the loop stands still between the run's end and the closing."""
    transport = Scripted(answer(), BUSY)
    numbers = range(3)

    async def leave(chat: RemoteChat) -> None:
        transport.free.clear()
        tasks = [asyncio.create_task(chat.ask(question(str(n)))) for n in numbers]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        transport.free.set()

    with AnswerStore(tmp_path / "answers.sqlite") as answers, asyncio.Runner() as loop:
        limiter = Limiter(max_concurrent=2)  # so the third waits, and is never sent
        chat = chat_over(transport, ledger, limiter=limiter, answers=answers)
        loop.run(leave(chat))
        loop.run(chat.close())
        totals = ledger.totals()
        assert (totals.calls, totals.refused_calls, totals.open_calls) == (1, 1, 0)
        assert len(transport.asked) == 2
        loop.run(chat.ask(question("0")))
        assert ledger.totals().cached_answers == 1


def test_a_cancelled_call_gives_back_its_slot_and_counts_as_uncertain(ledger: Ledger) -> None:
    transport = Scripted()
    chat = chat_over(transport, ledger, limiter=Limiter(max_concurrent=1))

    async def main() -> None:
        transport.free.clear()
        sent = asyncio.create_task(chat.ask(question()))
        waiting = asyncio.create_task(chat.ask(question()))
        await asyncio.sleep(0.01)
        for task in (sent, waiting):
            task.cancel()
        await asyncio.gather(sent, waiting, return_exceptions=True)
        transport.free.set()
        async with asyncio.timeout(10):
            await chat.ask(question())

    asyncio.run(main())
    totals = ledger.totals()
    assert (totals.calls, totals.uncertain_calls, totals.open_calls) == (2, 1, 0)


def test_a_server_that_does_not_say_its_usage(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    silent = replace(answer(), usage=None)
    chat = chat_over(Scripted(silent, silent), ledger)
    for _ in range(2):
        assert asyncio.run(chat.ask(question())).cost_usd is None
    assert (ledger.totals().settled_nusd, ledger.totals().uncertain_calls) == (0, 2)
    assert [record.getMessage()[:38] for record in caplog.records] == [
        "model-a@127.0.0.1:1 does not say how m"
    ]


def test_prices_and_ways() -> None:
    local = Endpoint("gpt-4o-2024-11-20", base_url="http://localhost:8000/v1")
    assert price_at(local) == Price(0.0, 0.0)
    assert price_at(replace(local, price=Price(1.0, 1.0))) == Price(1.0, 1.0)
    assert price_at(Endpoint("no-such-model", base_url="https://models.example.org/v1")) is None
    assert isinstance(transport_to(local), DirectTransport)


@asynccontextmanager
async def chat_at(provider: Provider, ledger: Ledger, **options: Any) -> AsyncIterator[RemoteChat]:
    async with provider:
        chat = RemoteChat(
            Endpoint(
                "model-a", base_url=provider.base_url, api_key_env="CANARY_KEY", timeout_s=0.2
            ),
            ledger=ledger,
            limiter=Limiter(),
            retries=Retries(max_attempts=3, base_s=0.001),
            **options,
        )
        try:
            yield chat
        finally:
            await chat.close()


@pytest.mark.parametrize("fault", [None, "wrong key", "not set", "cancelled", *FAULTS])
def test_a_key_appears_nowhere(
    fault: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_KEY", KEY)
    if fault == "not set":
        monkeypatch.delenv("CANARY_KEY")
    provider = Provider(key="another" if fault == "wrong key" else KEY)
    if fault in FAULTS:
        provider = Provider(key=KEY, faults=[fault], fault_rate=1.0)
    seen: list[str] = []

    async def main(chat: RemoteChat) -> None:
        try:
            async with asyncio.timeout(0.0 if fault == "cancelled" else 30.0):
                seen.append(repr(await chat.ask(question())))
        except (ParleyError, TimeoutError) as error:
            seen.extend([repr(error), *traceback.format_exception(error)])
        seen.append(repr(chat) + repr(chat._transport) + repr(chat._endpoint))

    async def with_everything() -> None:
        with (
            Ledger(tmp_path / "ledger.sqlite") as ledger,
            AnswerStore(tmp_path / "answers.sqlite") as answers,
        ):
            async with chat_at(provider, ledger, answers=answers) as chat:
                await main(chat)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(with_everything())
    seen.append(caplog.text)
    assert len(seen) >= 3
    assert not any(KEY in text for text in seen)
    for file in tmp_path.iterdir():
        assert KEY.encode() not in file.read_bytes()
    if fault == "wrong key":
        assert any("set CANARY_KEY to one that may use it" in text for text in seen)
