"""What servers say is shown without keys, in whichever form they quote them, and without codes."""

from __future__ import annotations

import base64
import html
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.remote.server_words import MAX_CHARS, shown, without_keys

KEY = "sk-canary/8e1f2a+7b6c'5d&4e=="


def leaks(text: str) -> bool:
    """Whether five characters of the key's middle are in a text, in any spelling."""
    return any(part in text for part in (KEY[3:9], KEY[10:16], "8e1f2a", "7b6c"))


@pytest.mark.parametrize(
    "quoted",
    [
        KEY,
        json.dumps(KEY),
        json.dumps(json.dumps(KEY)),
        json.dumps(KEY).replace("/", "\\/"),
        json.dumps(KEY).replace("/", "\\u002f").replace("+", "\\u002B"),
        quote(KEY, safe=""),
        quote(KEY, safe="").lower().replace("sk-canary%2f8e1f2a", "sk-canary%2f8e1f2a"),
        quote(quote(KEY, safe=""), safe=""),
        "".join(f"%{byte:02x}" for byte in KEY.encode()),
        html.escape(KEY),
        base64.b64encode(KEY.encode()).decode(),
        KEY[:14],
        KEY[6:20],
        KEY[-12:],
        f"{KEY[:6]}***{KEY[-2:]}",
        f"{KEY[:5]}...",
        "sk-proj-Ab12Cd34",
        "sk-...Ab12",
    ],
)
def test_a_key_is_masked_in_every_form(quoted: str) -> None:
    said = shown(f"Incorrect API key provided: {quoted}. See the docs.", KEY)
    assert not leaks(said)
    assert said.startswith("Incorrect API key provided: ")
    assert "[key]" in said
    assert said.endswith("See the docs.")


def test_a_base64_form_leaves_no_part() -> None:
    assert "c2stY2FuYXJ5" not in shown(base64.b64encode(KEY.encode()).decode(), KEY)


def test_keys_that_others_read_are_masked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "another-key-0123456789")
    assert shown("bad another-key-0123456789 here") == "bad [key] here"
    assert without_keys("It is another-key-0123456789.", None) == "It is [key]."


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07then", "then"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x1b[2J\x1b[Hb", "ab"),
        ("a\x9b31mb", "a 31mb"),
        ("\x00a\x08b\rc\nd\te", "a b c d e"),
        ("left\u202eright\u2066x", "left right x"),
        ("plain \u00fc \u53cc", "plain \u00fc \u53cc"),
        ("wait... and *see*", "wait... and *see*"),
        ("maximum context length is 4096 tokens", "maximum context length is 4096 tokens"),
    ],
)
def test_control_codes_are_gone_and_words_stay(said: str, plain: str) -> None:
    assert shown(said, KEY) == plain


@settings(max_examples=30)
@given(st.text())
def test_whatever_is_shown_is_one_printable_line(said: str) -> None:
    assert shown(said, KEY).isprintable()


def test_a_long_message_keeps_both_ends_and_takes_no_time() -> None:
    started = time.process_time()
    said = shown("begin " + "a*b." * 500_000 + " end", KEY)
    shown("a" * 10**6, KEY)
    assert time.process_time() - started < 2
    assert len(said) < 1.1 * MAX_CHARS
    assert said.startswith("begin")
    assert said.endswith("end")
