"""A good answer is kept however odd the rest of its body is; what is none is not taken for one."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from engines.remote.completion import read_completion
from engines.remote.endpoint import Endpoint
from engines.remote.failures import Failure, Remedy, wait_in
from engines.remote.ledger import Ledger, PlannedCall, Usage
from engines.remote.prices import Price
from engines.remote.transport import Answer

ENDPOINT = Endpoint("model-a", base_url="http://127.0.0.1:1/v1")


def body(**changes: Any) -> dict[str, Any]:
    choice = {"message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 100, "completion_tokens": 5}
    return {"model": "model-a-2026", "choices": [choice], "usage": usage} | changes


def message(**fields: Any) -> dict[str, Any]:
    finish = fields.pop("finish_reason", "stop")
    return body(choices=[{"message": {"role": "assistant"} | fields, "finish_reason": finish}])


def read(content: dict[str, Any] | str) -> Answer | Failure:
    text = content if isinstance(content, str) else json.dumps(content)
    return read_completion(ENDPOINT, text.encode("utf-8", "surrogatepass"), None)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        "many",
        {"prompt_tokens": None, "completion_tokens": 5},
        {"prompt_tokens": 100.5, "completion_tokens": 5},
        {"prompt_tokens": 100.0, "completion_tokens": 5},
        {"prompt_tokens": "100", "completion_tokens": 5},
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 100, "completion_tokens": None},
        {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": "x"}},
    ],
)  # fmt: skip
def test_odd_usage_is_unknown_and_the_text_is_kept(usage: object) -> None:
    assert read(body(usage=usage)) == Answer("Hi.", "model-a-2026", "stop", usage=None)


def test_a_number_of_many_digits_is_no_usage() -> None:
    text = json.dumps(body()).replace("100", "1" + "0" * 5000)
    assert read(text) == Answer("Hi.", "model-a-2026", "stop", usage=None)


@pytest.mark.parametrize("named", [None, "", 7, {}])
def test_without_a_model_name_it_is_the_one_that_was_asked(named: object) -> None:
    answer = read(body(model=named))
    assert isinstance(answer, Answer)
    assert (answer.text, answer.model) == ("Hi.", "model-a")
    without = body()
    del without["model"]
    assert read(without) == answer


def test_content_in_parts() -> None:
    parts = [{"type": "text", "text": "Twelve "}, {"type": "thinking"}, {"text": None}, "is fair."]
    answer = read(message(content=parts))
    assert isinstance(answer, Answer)
    assert answer.text == "Twelve is fair."


@pytest.mark.parametrize("content", ['"half \\ud83d"', '"\\u0000"'])
def test_odd_characters_do_not_lose_an_answer(content: str) -> None:
    answer = read(json.dumps(body()).replace('"Hi."', content))
    assert isinstance(answer, Answer)
    assert answer.text == json.loads(content)
    broken = json.dumps(body()).encode().replace(b"Hi.", b"Hi\xff.")
    kept = read_completion(ENDPOINT, b"\xef\xbb\xbf" + broken, None)
    assert isinstance(kept, Answer)
    assert kept.text == "Hi\ufffd."


@pytest.mark.parametrize(
    ("fields", "text", "finish"),
    [
        ({"content": None, "finish_reason": "length"}, "", "length"),
        ({"content": "", "finish_reason": "MAX_TOKENS"}, "", "length"),
        ({"content": None, "finish_reason": "content_filter"}, "", "content_filter"),
        ({"content": "Well, ", "finish_reason": "SAFETY"}, "Well, ", "content_filter"),
        ({"content": None, "refusal": "I \x1b[1mwon't."}, "I won't.", "refusal"),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "No.", "refusal"),
        ({"content": None, "finish_reason": None}, "", "stop"),
        ({"finish_reason": 7}, "", "stop"),
    ],
)
def test_why_a_reply_ended(fields: dict[str, Any], text: str, finish: str) -> None:
    answer = read(message(**fields))
    assert isinstance(answer, Answer)
    assert (answer.text, answer.finish_reason) == (text, finish)


@pytest.mark.parametrize(
    ("content", "remedy", "said"),
    [
        ({"error": {"message": "Slow down.", "code": 429}}, Remedy.RETRY, "answered 429: .*Slow"),
        (body(error={"message": "Upstream", "code": "502"}), Remedy.RETRY, "answered 502"),
        ({"error": "boom"}, Remedy.RETRY, "answered 500: boom"),
        ({"error": {"type": "overloaded_error"}}, Remedy.RETRY, "answered 503"),
        ({"error": {"code": "rate_limit_exceeded"}}, Remedy.RETRY, "answered 429"),
        ({"error": {"code": 400, "message": "context_length"}}, Remedy.OTHER_REQUEST, "answered 4"),
        ({"error": {"code": 401}}, Remedy.OTHER_CONFIG, "refuses the key"),
        (body(choices=[{"error": {"code": 502}, "message": {"content": ""}}]), Remedy.RETRY, "502"),
        (message(content="half", finish_reason="error"), Remedy.RETRY, "broke off"),
        (body(choices=[]), Remedy.RETRY, "something else than a chat completion"),
        (body(choices=[None]), Remedy.RETRY, "something else than a chat completion"),
        (body(choices=None), Remedy.RETRY, "something else than a chat completion"),
        ("[1]", Remedy.RETRY, "not an object"),
        ("[" * 100_000, Remedy.RETRY, "not JSON"),
    ],
)
def test_what_is_no_answer(content: Any, remedy: Remedy, said: str) -> None:
    failure = read(content)
    assert isinstance(failure, Failure)
    assert failure.remedy is remedy
    assert re.search(said, failure.reason)


def test_a_wait_in_an_error_object_is_heeded() -> None:
    failure = read({"error": {"code": 429, "message": "Please try again in 20s."}})
    assert isinstance(failure, Failure)
    assert failure.retry_after_s == 20.0


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("Rate limit reached. Please try again in 1.5s.", 1.5),
        ("Please try again in 6m0s. Visit us.", 360.0),
        ("Please try again in 1h2m3s", 3723.0),
        ("Please try again in 20ms.", 0.02),
        ("Please retry after 26 seconds.", 26.0),
        ("Retry after 2 minutes and 5 seconds", 125.0),
        ('{"@type": "RetryInfo", "retryDelay": "36s"}', 36.0),
        ('{"error": {"retry_after": 5}}', 5.0),
        ('{"retry_after_ms": 500}', 0.5),
        ("Limit 10000, used 9000, requested 2000", None),
        ("Try again later.", None),
        ("Please try again in a while, at 12 o'clock", None),
    ],
)
def test_a_wait_that_is_told_in_words(said: str, seconds: float | None) -> None:
    assert wait_in(said) == (None if seconds is None else pytest.approx(seconds))


def test_a_usage_beyond_all_bounds_is_not_booked() -> None:
    """10 to the 30th tokens, at a price, would overflow the ledger and end all budgets."""
    call = PlannedCall("model-a", "judge", Price(1.0, 2.0), prompt_tokens=1000, max_tokens=100)
    for wild in (Usage(10**30, 1), Usage(10_001, 1), Usage(1, 10**30)):
        with Ledger(None, budget_usd=1.0) as ledger:
            reservation = ledger.reserve(call)
            assert ledger.settle(reservation, call.believed(wild)) is None
            totals = ledger.totals()
            assert totals.settled_nusd == 0
            assert totals.uncertain_nusd == call.worst_nusd == 1_200_000
    assert call.believed(Usage(1500, 100)) == Usage(1500, 100)
