"""Who is at fault for a failure: one request, the options, or a server that answers nobody."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from engines.chat import ChatRequest
from engines.remote.answer_store import AnswerStore
from engines.remote.client import RemoteChat
from engines.remote.contact import MANY
from engines.remote.failures import Failure, Remedy
from engines.remote.ledger import Ledger
from engines.remote.retries import Retries
from engines.remote.transport import Answer
from envs.errors import ConfigError, OutageError, RemoteError
from tests.engines.scripted_transport import AGAIN, Scripted, answer, chat_over, question


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(None)


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
        calls = (chat.ask(question(text)) for text in ("even", "odd"))
        return await asyncio.gather(*calls, return_exceptions=True)

    even, odd = asyncio.run(main(chat_over(Odd(), ledger)))
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
