"""Prices: what the price file says of a model, and what a call costs to the nano-dollar."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.chat import ChatRequest, Message
from engines.remote import prices
from engines.remote.prices import (
    LongPrompts,
    Price,
    price_in,
    price_list_version,
    price_of,
    retirement_in,
    retirement_of,
    why_unknown,
)
from engines.remote.token_bound import prompt_tokens_bound
from envs.errors import ConfigError


def entry(prompt: float, reply: float, provider: str = "openai", **more: Any) -> dict[str, Any]:
    return {
        "input_cost_per_token": prompt,
        "output_cost_per_token": reply,
        "litellm_provider": provider,
        **more,
    }


ENTRIES: dict[str, dict[str, Any]] = {
    "gpt-4o": entry(2.5e-06, 1e-05, cache_read_input_token_cost=1.25e-06),
    "gpt-4o-2024-05-13": entry(5e-06, 1.5e-05, deprecation_date="2026-10-23"),
    "gpt-4o-2024-11-20": entry(2.5e-06, 1e-05, deprecation_date="2027-01-14"),
    "gpt-4o-mini": entry(1.5e-07, 6e-07),
    "gpt-5": entry(1e-06, 8e-06),
    "gpt-5-2025-08-07": entry(1e-06, 8e-06, deprecation_date="2027-06-01"),
    "gpt-5-2026-08-07": entry(1e-06, 8e-06),
    "ft:gpt-4o-2024-11-20": entry(3.75e-06, 1.5e-05, deprecation_date="2027-01-14"),
    "deepseek/deepseek-chat": entry(2.8e-07, 4.2e-07, "deepseek"),
    "gemini-pro": entry(1e-06, 2e-06, "vertex_ai-language-models"),
    "qwen-tiers": {
        "litellm_provider": "dashscope",
        "tiered_pricing": [
            {"input_cost_per_token": 1e-06, "output_cost_per_token": 5e-06, "range": [0, 32e3]},
            {"input_cost_per_token": 2e-06, "output_cost_per_token": 9e-06, "range": [32e3, 1e6]},
        ],
    },
    "gpt-long": entry(
        2e-06,
        1e-05,
        input_cost_per_token_above_200k_tokens=4e-06,
        output_cost_per_token_above_200k_tokens=1.5e-05,
        input_cost_per_token_above_200k_tokens_batches=2e-06,
    ),
    "thinker": entry(1e-06, 2e-06, output_cost_per_reasoning_token=4e-06),
    "nobody-filled-it-in": entry(0, 0, "sagemaker"),
    "half": {"input_cost_per_token": 1e-06},
    "by-request": entry(1e-06, 1e-06, "perplexity", input_cost_per_request=0.005),
    "searcher": entry(1e-06, 1e-06, "perplexity", search_context_cost_per_query={"low": 0.005}),
    "may-look-up": entry(1e-06, 2e-06, "gemini", search_context_cost_per_query={"low": 0.035}),
}


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("gpt-4o", Price(2.5, 10.0, 1.25)),
        ("openai/gpt-4o", Price(2.5, 10.0, 1.25)),
        ("gpt-4o-mini", Price(0.15, 0.6, 0.15)),
        ("gpt-4o-2024-05-13", Price(5.0, 15.0, 5.0)),
        ("gpt-4o-2031-01-01", Price(2.5, 10.0, 1.25)),  # not listed yet: as its model
        ("ft:gpt-4o-2024-11-20:us::Ab1", Price(3.75, 15.0, 3.75)),
        ("openai/ft:gpt-4o-2024-11-20:us:mine:Ab1", Price(3.75, 15.0, 3.75)),
        ("deepseek/deepseek-chat", Price(0.28, 0.42, 0.28)),
        ("vertex_ai/gemini-pro", Price(1.0, 2.0, 1.0)),
        ("thinker", Price(1.0, 4.0, 1.0)),  # hidden reasoning is among the reply's tokens
        ("may-look-up", Price(1.0, 2.0, 1.0)),
        ("qwen-tiers", Price(1.0, 5.0, 1.0, LongPrompts(32_000, Price(2.0, 9.0, 2.0)))),
        ("gpt-long", Price(2.0, 10.0, 2.0, LongPrompts(200_000, Price(4.0, 15.0, 4.0)))),
        ("ollama/anything", Price(0.0, 0.0)),
    ],
)
def test_a_model_has_the_price_that_the_file_says(model: str, price: Price) -> None:
    assert price_in(ENTRIES, model) == price


@pytest.mark.parametrize(
    "model",
    [
        "no-such-model",
        "anthropic/gpt-4o",  # another provider's price says nothing
        "deepseek-chat",
        "half",
        "nobody-filled-it-in",  # unknown, which is not free
        "by-request",
        "searcher",
        "",
    ],
)
def test_a_price_that_the_file_does_not_say_is_unknown(model: str) -> None:
    assert price_in(ENTRIES, model) is None


@pytest.mark.parametrize(
    ("model", "day"),
    [
        ("gpt-4o-2024-05-13", date(2026, 10, 23)),
        ("openai/gpt-4o-2024-11-20", date(2027, 1, 14)),
        ("gpt-4o", date(2027, 1, 14)),  # when its last snapshot goes
        ("ft:gpt-4o-2024-11-20:us::Ab1", date(2027, 1, 14)),
        ("gpt-5", None),  # one snapshot stays
        ("gpt-4o-mini", None),
        ("gpt-4o-2031-01-01", None),  # another snapshot's day says nothing
        ("anthropic/gpt-4o", None),
    ],
)
def test_an_alias_retires_with_its_last_snapshot(model: str, day: date | None) -> None:
    assert retirement_in(ENTRIES, model) == day


def test_costs_by_hand() -> None:
    price = Price(2.5, 10.0, 1.25)
    # 1,000 prompt tokens at 2,500 nano-dollars and 50 reply tokens at 10,000
    assert price.cost_nusd(1000, 50) == 2_500_000 + 500_000
    # 600 at 2,500 and 400 out of the provider's cache at 1,250
    assert price.cost_nusd(1000, 50, 400) == 1_500_000 + 500_000 + 500_000
    # more cached than there are: 1,000 at 1,250
    assert price.cost_nusd(1000, 0, 5000) == 1_250_000
    # 1 token at 37.5 nano-dollars is rounded up, 2 are not
    assert Price(0.0375, 0.3).cost_nusd(1, 0) == 38
    assert Price(0.0375, 0.3).cost_nusd(2, 0) == 75
    # 0.1 + 0.2 dollars per million: 100 and 200 nano-dollars a token, exactly
    assert Price(0.1, 0.2).cost_nusd(3, 3) == 900


def test_a_long_prompt_costs_more_as_a_whole() -> None:
    price = Price(1.0, 5.0, long_prompts=LongPrompts(32_000, Price(2.0, 9.0)))
    assert price.cost_nusd(31_999, 10) == 31_999 * 1000 + 10 * 5000
    assert price.cost_nusd(32_000, 10) == 32_000 * 2000 + 10 * 9000
    assert not Price(0.0, 0.0, long_prompts=LongPrompts(9, Price(1.0, 1.0))).is_free
    assert Price(0, 0).is_free


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ({"input_usd_per_mtok": -1.0}, "0 or more"),
        ({"output_usd_per_mtok": float("nan")}, "0 or more"),
        ({"cached_usd_per_mtok": 2.0}, "leave cached_usd_per_mtok out"),
        ({"long_prompts": LongPrompts(9, Price(0.5, 1.0))}, "cheaper"),
    ],
)
def test_a_senseless_price_is_refused(rates: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Price(**({"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0} | rates))


@given(
    prompt=st.integers(0, 10**6),
    reply=st.integers(0, 10**5),
    cached=st.integers(0, 10**6),
    more=st.integers(0, 10**5),
)
def test_no_call_costs_more_than_a_longer_one(
    prompt: int, reply: int, cached: int, more: int
) -> None:
    price = Price(1.0, 5.0, 0.1, LongPrompts(32_000, Price(2.0, 9.0, 1.5)))
    cost = price.cost_nusd(prompt, reply, cached)
    assert cost <= price.cost_nusd(prompt + more, reply)
    assert cost <= price.cost_nusd(prompt, reply + more)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def forget() -> None:
        for known in (prices._installed_entries, price_of, retirement_of):
            known.cache_clear()

    forget()
    monkeypatch.setattr(prices, "find_spec", lambda name: None)
    yield
    forget()


@pytest.mark.usefixtures("nothing_installed")
def test_without_litellm_prices_are_unknown_and_it_is_said_why() -> None:
    assert price_of("gpt-4o") is None
    assert retirement_of("gpt-4o") is None
    assert price_list_version() is None
    assert "not installed" in why_unknown("gpt-4o")
    assert price_of("ollama/llama3") == Price(0.0, 0.0)


needs_litellm = pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed")


@needs_litellm
def test_the_installed_file_is_read_without_importing_litellm() -> None:
    code = (
        "import sys; from engines.remote.prices import *; "
        "print(price_of('openai/gpt-4o-2024-08-06'), retirement_of('gpt-4o-2024-08-06') is None, "
        "'litellm' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    price = "Price(input_usd_per_mtok=2.5, output_usd_per_mtok=10.0, cached_usd_per_mtok=1.25, "
    assert done.stdout.strip() == price + "long_prompts=None) False False"


@needs_litellm
def test_the_whole_installed_file_can_be_read() -> None:
    entries = prices._installed_entries()
    assert entries is not None
    priced = [model for model in entries if price_in(entries, model) is not None]
    assert len(priced) > 500
    assert price_of("no-such-model") is None
    assert "is unknown to litellm" in why_unknown("no-such-model")


def chat(*contents: str, schema: dict[str, Any] | None = None) -> ChatRequest:
    messages = tuple(Message("user", content) for content in contents)
    return ChatRequest(messages, temperature=0.0, max_tokens=9, schema=schema)


def test_the_bound_of_a_prompt_by_hand() -> None:
    assert prompt_tokens_bound(chat("hello")) == 256 + 16 + 5
    assert prompt_tokens_bound(chat("hello", "you")) == 256 + 2 * 16 + 8
    # U+FDFA is 3 bytes of UTF-8, but 33 once a tokenizer has taken it apart by NFKC
    assert prompt_tokens_bound(chat("\ufdfa")) == 256 + 16 + 33
    # {"a": 1} is 8 characters
    assert prompt_tokens_bound(chat("", schema={"a": 1})) == 256 + 16 + 1024 + 16


@given(st.lists(st.text(), max_size=4))
def test_a_prompt_has_no_more_tokens_than_bytes(contents: list[str]) -> None:
    contents = [text.encode("utf-8", "ignore").decode() for text in contents]
    # a tokenizer without any merges makes a token of each byte, and of each mark of the template
    marked = "".join(f"<s>user\n{text}</s>" for text in contents)
    as_bytes = len(marked.replace("<s>", "\0").replace("</s>", "\0").encode())
    assert as_bytes <= prompt_tokens_bound(chat(*contents))
