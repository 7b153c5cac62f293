"""Whatever servers, proxies and files of prices say, it is an answer or a failure, and no key."""

from __future__ import annotations

import base64
import html
import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engines.chat import ChatRequest, Message, Reply
from engines.remote.answer_store import AnswerStore, answer_key
from engines.remote.completion import read_completion, read_usage
from engines.remote.direct_transport import refused_option
from engines.remote.endpoint import Endpoint
from engines.remote.failures import Failure, failure_of_status, wait_in
from engines.remote.http import MAX_BYTES, _unpacked
from engines.remote.prices import price_in, retirement_in
from engines.remote.retries import parse_retry_after
from engines.remote.server_words import MAX_CHARS, shown, without_keys
from engines.remote.transport import Answer
from envs.errors import ConfigError, StoreError
from tests.outside_data import (
    check_sentence,
    dumped,
    fuzz,
    in_no_time,
    json_values,
    long_texts,
    mutated,
    texts,
    torn,
)

ENDPOINT = Endpoint("model-a", base_url="http://127.0.0.1:1/v1", api_key_env="SOME_KEY")
COMPLETION = {
    "model": "model-a-2026",
    "choices": [{"message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 3},
    },
}
ERROR = {
    "error": {"message": "Try again in 1m20s.", "code": 429, "type": "rate_limit", "status": "x"}
}


def check_outcome(outcome: Answer | Failure, key: str | None = None) -> None:
    """Valid: an answer of texts and whole numbers, or a failure whose reason is a sentence."""
    if isinstance(outcome, Failure):
        check_sentence(outcome.reason, most=700)
        assert outcome.retry_after_s is None or outcome.retry_after_s >= 0
        assert key is None or key not in outcome.reason
        return
    assert isinstance(outcome.text, str)
    assert outcome.model
    check_sentence(outcome.model, most=200)
    check_sentence(outcome.finish_reason, most=80)
    if (usage := outcome.usage) is not None:
        assert usage.prompt_tokens > 0
        assert usage.completion_tokens >= 0
        assert 0 <= usage.cached_prompt_tokens <= usage.prompt_tokens


@fuzz(120)
@given(body=mutated(COMPLETION) | mutated(ERROR) | mutated(COMPLETION | ERROR) | json_values)
def test_any_body_is_an_answer_or_a_failure(body: Any) -> None:
    with in_no_time():
        check_outcome(read_completion(ENDPOINT, dumped(body).encode(), "sk-0123456789"))
    if isinstance(body, dict):
        read_usage(body.get("usage"))


@pytest.mark.parametrize("depth", [*range(300, 1100, 40), 100_000])
def test_a_body_of_any_depth_is_an_answer_or_a_failure(depth: int) -> None:
    for place in ('"Hi."', '"stop"', '"model-a-2026"', "100"):
        text = json.dumps(COMPLETION).replace(place, "[" * depth + "]" * depth)
        check_outcome(read_completion(ENDPOINT, text.encode(), None))
    text = json.dumps(ERROR).replace('"x"', "[" * depth + "]" * depth)
    check_outcome(read_completion(ENDPOINT, text.encode(), None))


@fuzz(80)
@given(content=torn(json.dumps(COMPLETION).encode()) | torn(json.dumps(ERROR).encode()))
def test_any_bytes_are_an_answer_or_a_failure(content: bytes) -> None:
    check_outcome(read_completion(ENDPOINT, content, None))


KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=40).filter(
    lambda key: len(set(key)) > 8
)
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "json": lambda key: json.dumps(key),
    "json twice": lambda key: json.dumps(json.dumps(key)),
    "escaped slash": lambda key: json.dumps(key).replace("/", "\\/"),
    "url": lambda key: quote(key, safe=""),
    "small url": lambda key: quote(key, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    "url twice": lambda key: quote(quote(key, safe=""), safe=""),
    "url in full": lambda key: "".join(f"%{byte:02X}" for byte in key.encode()),
    "html": html.escape,
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 of an address": lambda key: base64.urlsafe_b64encode(key.encode()).decode(),
    "base64 of a header": lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
    "base64 of a login": lambda key: base64.b64encode(f"me:{key}".encode()).decode(),
    "half": lambda key: key[: len(key) // 2 + 3],
    "with codes": lambda key: "\x1b[1m".join((key[:5], key[5:])),
}


def undone(text: str) -> set[str]:
    """A text in every reading in which a key might be found."""
    found = {text, html.unescape(text), text.replace("\\/", "/")}
    from urllib.parse import unquote

    found |= {unquote(text), unquote(unquote(text))}
    for word in text.replace(":", " ").split():
        for start in range(4):
            padded = word[start : start + 4 * ((len(word) - start) // 4)]
            for altchars in (b"+/", b"-_"):
                try:
                    found.add(base64.b64decode(padded, altchars).decode("latin-1"))
                except ValueError:
                    continue
    return found


@pytest.mark.parametrize("form", FORMS)
@fuzz(15)
@given(key=KEYS, before=texts, after=texts)
def test_a_key_never_comes_out(form: str, key: str, before: str, after: str) -> None:
    said = f"{before} {FORMS[form](key)} {after}"
    kept = key[:8] if form == "half" else key
    bodies = [
        {"error": {"message": said, "code": 400}},
        {"error": said},
        COMPLETION | {"model": said},
        COMPLETION | {"choices": [{"message": {"content": said}, "finish_reason": said}]},
        COMPLETION | {"choices": [{"message": {"content": None, "refusal": said}}]},
    ]
    outcomes = [read_completion(ENDPOINT, json.dumps(body).encode(), key) for body in bodies]
    told = [shown(said, key), failure_of_status(ENDPOINT, 500, shown(said, key)).reason]
    for outcome in outcomes:
        check_outcome(outcome)
        if isinstance(outcome, Failure):
            told.append(outcome.reason)
        else:
            told += [outcome.model, outcome.finish_reason]
            if form != "with codes":
                told.append(outcome.text)
    for text in told:
        for reading in undone(text):
            assert kept not in reading, (form, text)


@fuzz()
@given(said=texts | st.text(max_size=80), key=st.none() | KEYS)
def test_anything_is_shown_on_one_line(said: str, key: str | None) -> None:
    text = shown(said, key)
    assert text.isprintable()
    assert text == " ".join(text.split())


LONG = long_texts(
    *("a", " ", "*", "...", "a*", "sk-", "sk-a.", "\x1b[", "\x1b]", "\x1b", "%41", "-", "\0"),
    *(
        "wait 1",
        "wait ",
        "retry in ",
        "try again in 1s ",
        "wait in",
        "1s",
        "retry_after=",
        "9",
        "1.",
    ),
    *("system ", "role ", "role system ", "use max_completion_token", "AIza"),
)


def test_no_message_takes_long() -> None:
    key = "sk-0123456789abcdef"
    body = {"messages": [{"role": "system"}], "max_tokens": 1, "seed": 1}
    for text in [*LONG, *("wait " + text for text in LONG), *("retry_after=" + t for t in LONG)]:
        with in_no_time(1.0):
            assert len(shown(text, key)) <= 2 * MAX_CHARS
            without_keys(text, key)
            seconds = wait_in(text[:MAX_CHARS])
            refused_option(text[:MAX_CHARS], body)
            assert seconds is None or seconds >= 0
        check_sentence(failure_of_status(ENDPOINT, 400, shown(text, key)).reason, most=700)


@fuzz(100)
@given(status=st.integers(100, 999), message=texts | json_values.map(dumped))
def test_any_status_is_a_failure(status: int, message: str) -> None:
    check_outcome(failure_of_status(ENDPOINT, status, shown(message)))


NOW = datetime(2026, 3, 1, tzinfo=UTC)
DATE = "Sun, 01 Mar 2026 12:00:30 +0100"


@example("Sun, 01 Mar 2026 12:00:30 +999999999999999999")
@example("9" * 400)
@example("Sun, 01 Mar 99999 12:00:30 GMT")
@fuzz(300)
@given(header=torn(DATE.encode(), most=5).map(lambda content: content.decode("latin-1")))
def test_any_date_of_a_header_is_read(header: str) -> None:
    seconds = parse_retry_after(header, NOW)
    assert seconds is None or 0 <= seconds < float("inf")


@fuzz(60)
@given(
    content=st.binary(max_size=50), encoding=st.sampled_from(["gzip", "deflate", "br", "x-gzip"])
)
def test_any_packed_body_is_bounded(content: bytes, encoding: str) -> None:
    import zlib

    for packed in (content, zlib.compress(content), zlib.compress(content)[:-3]):
        try:
            body = _unpacked(packed, encoding)
        except zlib.error:
            continue
        assert body is None or len(body) <= MAX_BYTES + 1


ENTRY = {
    "litellm_provider": "openai",
    "input_cost_per_token": 1e-6,
    "output_cost_per_token": 2e-6,
    "cache_read_input_token_cost": 5e-7,
    "input_cost_per_token_above_128k_tokens": 2e-6,
    "output_cost_per_token_above_128k_tokens": 4e-6,
    "deprecation_date": "2027-01-31",
    "tiered_pricing": [
        {"range": [0, 32000], "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    ],
}
PLAIN = {name: value for name, value in ENTRY.items() if name != "tiered_pricing"}


@example(ENTRY | {"deprecation_date": "when it is withdrawn"})
@example(PLAIN | {"input_cost_per_token": -1.0})
@example(PLAIN | {"output_cost_per_token": "free"})
@example(ENTRY | {"tiered_pricing": 5})
@fuzz(120)
@given(entry=mutated(ENTRY) | mutated(PLAIN) | json_values)
def test_any_entry_of_a_price_file_is_a_price_or_unknown(entry: Any) -> None:
    entries = {"m": entry, "m-2026-01-01": entry}
    price = price_in(entries, "m")
    assert price is None or price.cost_nusd(10**6, 10**6) >= 0
    day = retirement_in(entries, "m")
    assert day is None or type(day) is date


GREEDY = ChatRequest((Message("user", "Hi"),), 0.0, 64)
STORED = {
    "text": "Hello",
    "model": "m",
    "prompt_tokens": 12,
    "completion_tokens": 3,
    "cost_usd": 0.25,
    "is_cached": False,
    "finish_reason": "stop",
}


@fuzz(60)
@given(row=mutated(STORED).map(dumped) | json_values.map(dumped) | texts)
def test_any_row_of_the_answers_is_an_answer_or_refused(tmp_path: Path, row: str) -> None:
    path, key = tmp_path / "answers.sqlite", answer_key("m", GREEDY)
    with AnswerStore(path) as answers:
        answers.put(key, GREEDY, Reply("Hello", "m", 12, 3, cost_usd=0.25))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE answers SET reply = ?", (row.encode("utf-8", "replace").decode(),))
    db.close()
    with AnswerStore(path) as answers:
        try:
            found = answers.get(key)
        except StoreError as error:
            check_sentence(error, most=len(str(path)) + 400)
        else:
            assert found is not None
            assert isinstance(found.text, str)
            assert isinstance(found.finish_reason, str)
            assert found.cost_usd == 0


@example("http://[::1")
@example("http://a\u2100b/")
@fuzz()
@given(address=torn(b"http://127.0.0.1:8000/v1").map(lambda text: text.decode("latin-1")) | texts)
def test_any_address_is_a_server_or_refused(address: str) -> None:
    try:
        endpoint = Endpoint("m", base_url=address)
    except ConfigError as error:
        check_sentence(error)
    else:
        assert endpoint.host
        assert endpoint.id.startswith("m@")
        assert endpoint.is_local in (True, False)
