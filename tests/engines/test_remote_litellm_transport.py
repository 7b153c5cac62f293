"""litellm translates and does no more: what it sends, how its errors are read, its silence."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import traceback
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from engines.chat import ChatRequest, Message
from engines.remote.client import RemoteChat, transport_to
from engines.remote.endpoint import Endpoint
from engines.remote.failures import Failure, Remedy
from engines.remote.ledger import Ledger, Usage
from engines.remote.limits import Limiter
from engines.remote.litellm_transport import LitellmTransport, import_litellm
from engines.remote.retries import Retries
from engines.remote.transport import Answer
from envs.errors import ConfigError, ParleyError
from tests.engines.remote_provider import FAULTS, Fault, Provider

if find_spec("litellm") is None:  # not importorskip, which would import it with its defaults
    pytest.skip("litellm is not installed", allow_module_level=True)
# What it imports with the first call doesn't suit the pydantic of today; our own code still must.
pytestmark = pytest.mark.filterwarnings("ignore:Item '.*' on TypedDict:UserWarning")

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-canary-8e1f2a"
SCHEMA = {"type": "object", "properties": {"score": {"type": "integer"}}}
ENDPOINT = Endpoint("openai/gpt-4o-mini", api_key_env="CANARY_KEY")
HASTY = replace(ENDPOINT, timeout_s=0.5)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def question(**options: Any) -> ChatRequest:
    options = {"temperature": 0.5, "max_tokens": 20, "seed": 7} | options
    return ChatRequest((Message("user", "Hello"),), **options)


def sent(
    provider: Provider, *requests: ChatRequest, endpoint: Endpoint = ENDPOINT
) -> list[Answer | Failure]:
    """What comes of each of the requests, with litellm's OpenAI moved to loopback."""

    async def main() -> list[Answer | Failure]:
        async with provider:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("OPENAI_BASE_URL", provider.base_url)
                transport = transport_to(endpoint)
                assert isinstance(transport, LitellmTransport)
                try:
                    return [await transport.send(request, KEY) for request in requests]
                finally:
                    await transport.close()

    return asyncio.run(main())


def test_a_plain_call() -> None:
    provider = Provider(key=KEY)
    first, second = sent(
        provider, question(seed=7 + 2**62), question(temperature=None, schema=SCHEMA)
    )
    assert first == Answer("re: Hello", "gpt-4o-mini-2026", "stop", Usage(4 + 1, 3))
    assert isinstance(second, Answer)
    messages = [{"role": "user", "content": "Hello"}]
    plain = {"model": "gpt-4o-mini", "messages": messages, "max_tokens": 20, "seed": 7}
    assert provider.bodies[0] == plain | {"temperature": 0.5}
    assert provider.bodies[1].pop("response_format")["json_schema"]["schema"] == SCHEMA
    assert provider.bodies[1] == plain


def test_no_usage_is_not_a_usage_of_nothing() -> None:
    (answer,) = sent(Provider(gives_usage=False), question())
    assert isinstance(answer, Answer)
    assert answer.usage is None


def test_closing_one_closes_no_other() -> None:
    async def main() -> list[Answer | Failure]:
        async with Provider() as provider:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("OPENAI_BASE_URL", provider.base_url)
                first, second = LitellmTransport(ENDPOINT), LitellmTransport(ENDPOINT)
                outcomes = [await chat.send(question(), KEY) for chat in (first, second)]
                await first.close()
                outcomes.append(await second.send(question(), KEY))
                await second.close()
                outcomes.append(await first.send(question(), KEY))  # and they open again
                await first.close()
                return outcomes

    assert [type(outcome) for outcome in asyncio.run(main())] == [Answer] * 4


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_told_after_one_attempt(fault: Fault) -> None:
    provider = Provider(script=[fault])
    (failure,) = sent(provider, question(), endpoint=HASTY if fault == "hangs" else ENDPOINT)
    assert isinstance(failure, Failure)
    assert failure.remedy is Remedy.RETRY
    assert failure.was_billed is (False if fault in ("busy", "busy_for_a_while") else None)
    assert provider.account.requests == 1  # litellm did not try again
    if fault == "busy_for_a_while":
        assert failure.retry_after_s == 0.02


def test_what_no_retry_helps() -> None:
    (wrong_key,) = sent(Provider(key="another"), question())
    (bad_option,) = sent(Provider(refuses=["seed"]), question())
    (no_maker,) = sent(Provider(), question(), endpoint=Endpoint("no-such-model"))
    for failure in (wrong_key, bad_option, no_maker):
        assert isinstance(failure, Failure)
        expected = Remedy.OTHER_CONFIG if failure is wrong_key else Remedy.UNCLEAR
        assert (failure.remedy, failure.was_billed) == (expected, False)
        assert KEY not in failure.reason
    assert "set CANARY_KEY to one" in wrong_key.reason
    assert "Unknown field seed" in bad_option.reason


@pytest.mark.parametrize("fault", ["wrong key", "broken", "cut", "hangs", None])
def test_a_key_appears_nowhere(
    fault: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    provider = Provider(
        key="another" if fault == "wrong key" else KEY,
        faults=[fault],
        fault_rate=1.0 if fault in FAULTS else 0.0,
    )
    seen: list[str] = []

    async def main() -> None:
        async with provider:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("OPENAI_BASE_URL", provider.base_url)
                chat = RemoteChat(
                    HASTY,
                    ledger=Ledger(None),
                    limiter=Limiter(),
                    retries=Retries(max_attempts=2, base_s=0.0),
                )
                try:
                    seen.append(repr(await chat.ask(question())))
                except ParleyError as error:
                    seen.extend(traceback.format_exception(error))
                seen.append(repr(chat) + repr(chat._transport))
                await chat.close()

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main())
    printed = capfd.readouterr()
    assert not any(KEY in text for text in [*seen, caplog.text, printed.out, printed.err])
    assert len(seen) >= 2


REPLAYED = """
import sys, asyncio, engines.remote.litellm_transport
from pathlib import Path
from engines.chat import ChatRequest, Message, Reply
from engines.remote.answer_store import AnswerStore, answer_key
from engines.remote.client import RemoteChat
from engines.remote.ledger import Ledger
from engines.remote.limits import Limiter
from engines.remote.endpoint import Endpoint
request = ChatRequest((Message("user", "Hello"),), 0.0, 9)
with AnswerStore(Path(sys.argv[1])) as answers:
    answers.put(answer_key("gpt-4o", request), request, Reply("Hi.", "gpt-4o", 1, 1, 0.0))
    chat = RemoteChat(Endpoint("gpt-4o"), ledger=Ledger(None), limiter=Limiter(), answers=answers)
    assert asyncio.run(chat.ask(request)).text == "Hi."
    asyncio.run(chat.close())
print(sorted(sys.modules))
"""


def test_litellm_is_imported_only_where_it_is_called(tmp_path: Path) -> None:
    command = [sys.executable, "-c", REPLAYED, str(tmp_path / "answers.sqlite")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout
    assert "'engines.remote.litellm_transport'" in loaded
    assert "'litellm'" not in loaded
    assert "'aiohttp'" not in loaded


def test_without_litellm_one_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)  # as if it was not there
    with pytest.raises(ConfigError, match="pip install 'litellm"):
        import_litellm()
