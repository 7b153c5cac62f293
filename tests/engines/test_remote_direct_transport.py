"""What the direct way sends, and how it reads whatever a server does, on a server that does it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from engines.chat import ChatRequest, Message
from engines.remote.direct_transport import DirectTransport, without_system
from engines.remote.endpoint import Endpoint, read_key
from engines.remote.failures import Failure, Remedy, failure_of_status
from engines.remote.ledger import Usage
from engines.remote.transport import Answer
from envs.errors import ConfigError
from tests.engines.remote_provider import Fault, Provider

SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer"}},
    "required": ["score"],
    "additionalProperties": False,
}
KEY = "sk-canary-8e1f2a"


def question(text: str = "Hello", **options: Any) -> ChatRequest:
    options = {"temperature": 0.5, "max_tokens": 20, "seed": 7} | options
    return ChatRequest((Message("system", "Be brief."), Message("user", text)), **options)


def sent(
    provider: Provider, *requests: ChatRequest, key: str | None = None, **options: Any
) -> list[Answer | Failure]:
    """What comes of each of the requests, one after the other."""

    async def main() -> list[Answer | Failure]:
        async with provider:
            transport = DirectTransport(Endpoint("model-a", base_url=provider.base_url, **options))
            try:
                return [await transport.send(request, key) for request in requests]
            finally:
                await transport.close()

    return asyncio.run(main())


def test_a_plain_call() -> None:
    provider = Provider()
    (answer,) = sent(provider, question())
    assert answer == Answer("re: Hello", "model-a-2026", "stop", Usage(4 + 2 + 4 + 1, 3))
    assert provider.bodies == [
        {
            "model": "model-a",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hello"},
            ],
            "max_tokens": 20,
            "temperature": 0.5,
            "seed": 7,
        }
    ]


def test_what_is_not_wanted_is_not_sent() -> None:
    provider = Provider()
    sent(provider, question(temperature=None, schema=SCHEMA), sends_seed=False, sends_schema=False)
    assert set(provider.bodies[0]) == {"model", "messages", "max_tokens"}


@pytest.mark.parametrize("seed", [2**63 - 1, 2**31, -1])
def test_a_seed_is_sent_as_all_servers_take_it(seed: int) -> None:
    provider = Provider()
    sent(provider, question(seed=seed), question(seed=seed), question(seed=seed - 1))
    first, same, other = (body["seed"] for body in provider.bodies)
    assert 0 <= first < 2**31
    assert first == same != other


def test_any_text_survives_the_way() -> None:
    text = 'Zürich "3 > 2" \u2028 \U0001f600 \x00 \udc80'  # a lone surrogate, too
    provider = Provider(reply=lambda body: "ok")
    sent(provider, question(text))
    assert provider.bodies[0]["messages"][1]["content"] == text


def test_a_schema_is_asked_for_strictly_where_it_is_closed() -> None:
    provider = Provider()
    sent(provider, question(schema=SCHEMA), question(schema=SCHEMA | {"required": []}))
    formats = [body["response_format"]["json_schema"] for body in provider.bodies]
    assert formats[0] == {"name": "reply", "schema": SCHEMA, "strict": True}
    assert formats[1]["strict"] is False


@pytest.mark.parametrize("option", ["response_format", "seed"])
def test_an_option_that_a_server_refuses_is_left_out_from_then_on(
    option: str, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Provider(refuses=[option])
    with caplog.at_level(logging.WARNING):
        first, second, third = sent(provider, *[question(schema=SCHEMA)] * 3)
    assert isinstance(first, Failure)
    assert (first.remedy, first.was_billed) == (Remedy.RETRY, False)
    assert isinstance(second, Answer)
    assert isinstance(third, Answer)
    assert [option in body for body in provider.bodies] == [True, False, False]
    assert len(caplog.records) == 1
    assert option in caplog.text


def test_max_tokens_is_renamed_where_a_server_says_so() -> None:
    async def serve(body: dict[str, Any]) -> web.Response:
        if "max_tokens" in body:
            message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return web.json_response({"error": {"message": message}}, status=400)
        assert body["max_completion_tokens"] == 20
        return web.json_response(
            {"model": "o", "choices": [{"message": {"content": None, "refusal": "No."}}]}
        )

    failure, answer = by_hand(serve, question(), question())
    assert isinstance(failure, Failure)
    assert answer == Answer("No.", "o", "refusal", usage=None)


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 0, "completion_tokens": 0}])
def test_no_usage_is_not_a_usage_of_nothing(usage: dict[str, int] | None) -> None:
    async def serve(body: dict[str, Any]) -> web.Response:
        choice = {"message": {"content": "Hi."}}
        return web.json_response({"model": "m", "choices": [choice], "usage": usage})

    (answer,) = by_hand(serve, question())
    assert answer == Answer("Hi.", "m", "stop", usage=None)


@pytest.mark.parametrize(
    ("fault", "was_billed", "said"),
    [
        ("busy", False, "answered 429: .*Slow down"),
        ("busy_for_a_while", False, "answered 429"),
        ("broken", None, "answered 500"),
        ("unavailable", None, "answered 503"),
        ("hangs", None, r"gave no answer within 0\.5 s"),
        ("cut", None, r"broke off \(ServerDisconnectedError\)"),
        ("cut_midway", None, r"broke off \(ClientPayloadError\)"),
        ("truncated", None, "something else than a chat completion"),
        ("invalid", None, "something else than a chat completion"),
        ("no_choices", None, r"\(it has no choices with a message\)"),
    ],
)
def test_what_can_be_tried_again(fault: Fault, was_billed: bool | None, said: str) -> None:
    timeout_s = 0.5 if fault == "hangs" else 30.0
    failure, answer = sent(Provider(script=[fault]), question(), question(), timeout_s=timeout_s)
    assert isinstance(failure, Failure)
    assert (failure.remedy, failure.was_billed) == (Remedy.RETRY, was_billed)
    assert failure.retry_after_s == (0.02 if fault in ("busy_for_a_while", "unavailable") else None)
    assert re.search(said, failure.reason)
    assert isinstance(answer, Answer)  # and the way is as good as before


def test_nobody_listens() -> None:
    async def main() -> Answer | Failure:
        async with Provider() as provider:
            url = provider.base_url
        transport = DirectTransport(Endpoint("model-a", base_url=url))
        try:
            return await transport.send(question(), None)
        finally:
            await transport.close()

    failure = asyncio.run(main())
    assert isinstance(failure, Failure)
    assert (failure.remedy, failure.was_billed) == (Remedy.RETRY, False)
    assert failure.reason == "could not be reached (ClientConnectorError)"


@pytest.mark.parametrize(
    ("status", "said", "remedy", "was_billed"),
    [
        (400, "temperature must be at most 2", Remedy.UNCLEAR, False),
        (422, "body.stop: extra fields", Remedy.UNCLEAR, False),
        (403, '{"error": {"message": "Your input was flagged"}}', Remedy.OTHER_REQUEST, False),
        (403, "blocked by the content policy", Remedy.OTHER_REQUEST, False),
        (500, "the request exceeds the available context size", Remedy.OTHER_REQUEST, False),
        (500, "it took too long", Remedy.RETRY, None),
        (400, "maximum context length is 4096 tokens", Remedy.OTHER_REQUEST, False),
        (400, '{"code": "content_filter"}', Remedy.OTHER_REQUEST, False),
        (400, "exceeds the maximum number of tokens allowed", Remedy.OTHER_REQUEST, False),
        (400, "Output blocked by content filtering policy", Remedy.OTHER_REQUEST, False),
        (400, f"{'words ' * 99} content_filter", Remedy.OTHER_REQUEST, False),
        (401, "", Remedy.OTHER_CONFIG, False),
        (402, "", Remedy.OTHER_CONFIG, False),
        (403, "", Remedy.UNCLEAR, False),
        (404, "model not found", Remedy.OTHER_CONFIG, False),
        (413, "", Remedy.OTHER_REQUEST, False),
        (301, "", Remedy.OTHER_CONFIG, False),
        (429, "", Remedy.RETRY, False),
        (429, '{"code": "insufficient_quota"}', Remedy.OTHER_CONFIG, False),
        (500, "", Remedy.RETRY, None),
        (529, "overloaded", Remedy.RETRY, None),
    ],
)
def test_what_a_status_means(
    status: int, said: str, remedy: Remedy, was_billed: bool | None
) -> None:
    failure = failure_of_status(Endpoint("m", api_key_env="SOME_KEY"), status, said)
    assert (failure.remedy, failure.was_billed) == (remedy, was_billed)
    assert f"answered {status}" in failure.reason
    assert len(failure.reason) < 400
    doubts_key = status in (401, 403) and remedy is not Remedy.OTHER_REQUEST
    assert ("SOME_KEY" in failure.reason) == doubts_key


@pytest.mark.parametrize(
    ("status", "is_down"), [(429, False), (500, False), (502, True), (503, True), (504, True)]
)
def test_which_status_means_that_a_server_is_down(status: int, is_down: bool) -> None:
    assert failure_of_status(Endpoint("m"), status, "").is_down is is_down


def test_a_wait_is_read_from_the_body_where_no_header_has_one() -> None:
    headers = iter([{}, {"Retry-After": "3"}, {"Retry-After-Ms": "40"}])

    async def serve(body: dict[str, Any]) -> web.Response:
        return web.Response(status=429, text="Please try again in 7s.", headers=next(headers))

    waits = [failure.retry_after_s for failure in by_hand(serve, *[question()] * 3)]
    assert waits == [7.0, 3.0, 0.04]


@pytest.mark.parametrize(
    "message",
    [
        "System role not supported",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "Developer instruction is not enabled for models/gemma-3-27b-it",
        "messages.0.role: Input should be 'user' or 'assistant', got 'system'",
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_where_no_system_message_is_taken_the_first_user_message_begins_with_it(
    message: str, status: int
) -> None:
    bodies: list[dict[str, Any]] = []

    async def serve(body: dict[str, Any]) -> web.Response:
        bodies.append(body)
        if body["messages"][0]["role"] == "system":
            return web.json_response({"error": {"message": message}}, status=status)
        return web.json_response({"model": "m", "choices": [{"message": {"content": "Hi."}}]})

    failure, answer, again = by_hand(serve, *[question()] * 3)
    assert isinstance(failure, Failure)
    assert (failure.remedy, failure.was_billed) == (Remedy.RETRY, False)
    assert isinstance(answer, Answer)
    assert isinstance(again, Answer)
    folded = [{"role": "user", "content": "Be brief.\n\nHello"}]
    assert [body["messages"] for body in bodies[1:]] == [folded, folded]


def test_a_system_message_that_stands_alone_becomes_the_users() -> None:
    alone = (Message("system", "Be brief."),)
    assert without_system(alone) == (Message("user", "Be brief."),)
    begun = (*alone, Message("assistant", "Hi."), Message("user", "Go on."))
    assert without_system(begun) == (Message("user", "Be brief."), *begun[1:])
    assert without_system(begun[1:]) == begun[1:]


@pytest.mark.parametrize(
    "message",
    [
        "'json_schema' is not supported by this model",
        "This model does not support structured outputs.",
        "guided decoding backend failed to compile",
        "failed to parse grammar",
        "Invalid schema for reply: 'minimum' is not permitted",
        "JSON mode is not enabled",
    ],
)
def test_a_schema_that_is_refused_in_other_words_is_left_out(message: str) -> None:
    async def serve(body: dict[str, Any]) -> web.Response:
        if "response_format" in body:
            return web.json_response({"error": {"message": message}}, status=400)
        return web.json_response({"model": "m", "choices": [{"message": {"content": "Hi."}}]})

    first, second = by_hand(serve, *[question(schema=SCHEMA)] * 2)
    assert isinstance(first, Failure)
    assert first.remedy is Remedy.RETRY
    assert isinstance(second, Answer)


def test_no_part_of_a_key_and_no_control_code_of_an_error_body_comes_through() -> None:
    async def serve(body: dict[str, Any]) -> web.Response:
        text = f"\x1b[2J\x1b]0;owned\x07bad key {KEY[:12]} or {KEY.replace('-', '%2D')}"
        return web.Response(status=400, text=text)

    (failure,) = by_hand(serve, question(), key=KEY)
    assert failure.reason.startswith("answered 400: bad key [key] or [key]")
    assert failure.reason.isprintable()


def test_a_redirect_is_not_followed_with_a_key() -> None:
    async def serve(body: dict[str, Any]) -> web.Response:
        return web.Response(status=307, headers={"Location": "http://example.invalid/"})

    (failure,) = by_hand(serve, question())
    assert isinstance(failure, Failure)
    assert "answered 307" in failure.reason


def test_a_key_is_sent_and_never_quoted() -> None:
    right, wrong = Provider(key=KEY), Provider(key="another")
    assert isinstance(sent(right, question(), key=KEY)[0], Answer)
    (refused,) = sent(wrong, question(), key=KEY, api_key_env="SOME_KEY")
    assert isinstance(refused, Failure)
    assert KEY not in refused.reason
    assert "set SOME_KEY" in refused.reason

    async def quotes(body: dict[str, Any]) -> web.Response:
        return web.Response(status=500, text=f"Cannot log Bearer {KEY}")

    (failure,) = by_hand(quotes, question(), key=KEY)
    assert isinstance(failure, Failure)
    assert failure.reason == "answered 500: Cannot log Bearer [key]"


def test_a_key_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint("model-a", api_key_env="SOME_KEY")
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(ConfigError, match="SOME_KEY is not set; model-a expects"):
        read_key(endpoint)
    monkeypatch.setenv("SOME_KEY", f" {KEY}\n")
    assert read_key(endpoint) == KEY
    assert read_key(Endpoint("model-a")) is None
    monkeypatch.setenv("SOME_KEY", "two\nlines-of-canary")
    with pytest.raises(ConfigError, match="SOME_KEY holds characters") as caught:
        read_key(endpoint)
    assert "canary" not in str(caught.value)


def test_endpoints() -> None:
    local = Endpoint("qwen", base_url="http://127.0.0.1:8000/v1")
    assert (local.id, local.host, local.is_local) == ("qwen@127.0.0.1:8000", "127.0.0.1:8000", True)
    assert replace(local, weights_version="7").id == "qwen#7@127.0.0.1:8000"
    gateway = Endpoint("qwen", base_url="https://gateway.example.org/team/a/v1/")
    assert (gateway.id, gateway.host) == ("qwen@gateway.example.org/team/a", "gateway.example.org")
    assert not Endpoint("qwen", base_url="https://models.example.org/v1").is_local
    assert (Endpoint("gpt-4o").id, Endpoint("gpt-4o").host) == ("gpt-4o", "openai")
    assert Endpoint("anthropic/some").host == "anthropic"
    with pytest.raises(ConfigError, match="expected something like http"):
        Endpoint("qwen", base_url="127.0.0.1:8000")
    with pytest.raises(ConfigError, match="user name, a password") as caught:
        Endpoint("qwen", base_url=f"http://me:{KEY}@127.0.0.1/v1")
    assert KEY not in str(caught.value)
    with pytest.raises(ConfigError, match="follows a question mark") as caught:
        Endpoint("qwen", base_url=f"http://127.0.0.1/v1?key={KEY}")
    assert KEY not in str(caught.value)
    with pytest.raises(ConfigError, match="expected something like"):
        Endpoint("qwen", base_url="http://127.0.0.1:80000/v1")
    with pytest.raises(ConfigError, match="timeout_s is 0"):
        Endpoint("qwen", timeout_s=0)
    with pytest.raises(ConfigError, match="no base_url"):
        DirectTransport(Endpoint("gpt-4o"))


Handler = Callable[[dict[str, Any]], Awaitable[web.Response]]


def by_hand(serve: Handler, *requests: ChatRequest, key: str | None = None) -> list[Any]:
    """What comes of each request at a server of the test's own making."""

    async def main() -> list[Answer | Failure]:
        async def handle(request: web.Request) -> web.Response:
            return await serve(await request.json())

        app = web.Application()
        app.router.add_post("/v1/chat/completions", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/"
        transport = DirectTransport(Endpoint("model-a", base_url=url))
        try:
            return [await transport.send(request, key) for request in requests]
        finally:
            await transport.close()
            await runner.cleanup()

    return asyncio.run(main())
