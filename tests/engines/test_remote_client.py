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

from engines.remote.answer_store import AnswerStore
from engines.remote.client import RemoteChat, price_at, transport_to
from engines.remote.direct_transport import DirectTransport
from engines.remote.endpoint import Endpoint
from engines.remote.failures import Failure, Remedy
from engines.remote.ledger import Ledger
from engines.remote.limits import Limiter
from engines.remote.prices import Price
from engines.remote.retries import Retries
from envs.errors import ConfigError, ParleyError, RemoteError
from tests.engines.remote_provider import FAULTS, Provider
from tests.engines.scripted_transport import (
    AGAIN,
    BUSY,
    ENDPOINT,
    Scripted,
    answer,
    chat_over,
    question,
)

KEY = "sk-canary-8e1f2a"


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(None)


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
