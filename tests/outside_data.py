"""What comes from outside, and worse: mutations of valid data, and what every refusal must be like.

A reader of outside data gives a valid result or raises one of our own errors. `PARLEY_FUZZ=2000`
tries that many examples, other ones each time; else there are few, and always the same.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from time import process_time
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from envs.errors import ParleyError

_MORE = os.environ.get("PARLEY_FUZZ")
LONGEST_SENTENCE = 1500
"""Characters of an error: one for people, which quotes a little of what was got."""

LARGE = 100_000
"""Characters of an input that must be read or refused in no time."""


def fuzz(examples: int = 60) -> settings:
    """How many examples a test tries."""
    return settings(
        max_examples=int(_MORE) if _MORE else examples,
        derandomize=not _MORE,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def check_sentence(said: ParleyError | str | None, *, most: int = LONGEST_SENTENCE) -> None:
    """One line of bounded length, that can be printed and saved."""
    assert said is not None
    text = str(said)
    assert 0 < len(text) <= most, f"{len(text)} characters: {text[:200]!r}"
    bad = {c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")}
    assert not bad, f"{bad} in {text!r}"
    assert "Traceback" not in text


@contextmanager
def in_no_time(seconds: float = 2.0) -> Iterator[None]:
    """Processor time, so that a busy machine does not count."""
    started = process_time()
    yield
    took = process_time() - started
    assert took < seconds, f"it took {took:.1f} s"


ODD_TEXTS = (
    *("", " ", "\0", "\ufeff", "\ud800", "\udfff x", "\u202edlrow", "\u2028", "\x1b[2J", "\r\n\t"),
    *("e\u0301", "\u00e9", "\uff11\uff12", "\u0663", "\u00b2", "\U0001f600", "\u0130", "null"),
    *("nan", "-1", "1e999", "'\"\\", "<p>", "</extra_info>", "<extra_info>", "../../x", "x" * 3000),
)
"""Texts that trip readers up: controls, surrogates, other digits, markup, paths, length."""

texts = st.sampled_from(ODD_TEXTS) | st.text(max_size=20)

_DEEP, _HUGE = "@@deep@@", "@@huge@@"
"""Stand for what `json.dumps` cannot write, or would take long to."""

scalars = st.one_of(
    st.sampled_from(
        [None, True, False, 0, -1, 10**30, -(10**400), 0.5, 1e308, float("nan"), float("inf")]
    ),
    st.sampled_from([_DEEP, _HUGE]),
    st.integers(-20, 20),
    texts,
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside a JSON value, its own included."""
    inside: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    return [path, *(place for key, each in inside for place in places(each, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn, valid: Any, most: int = 3) -> Any:
    """A valid JSON value in which something was dropped, doubled, swapped or replaced."""
    value = deepcopy(valid)
    for _ in range(draw(st.integers(1, most))):
        inner = [place for place in places(value) if place]
        if not inner:
            return draw(json_values)
        *path, key = draw(st.sampled_from(inner))
        parent = value
        for step in path:
            parent = parent[step]
        match draw(st.sampled_from(["drop", "replace", "odd", "wrap", "double", "swap", "rename"])):
            case "drop":
                del parent[key]
            case "replace":
                parent[key] = draw(json_values)
            case "odd" if isinstance(parent[key], str):
                at = draw(st.integers(0, len(parent[key])))
                parent[key] = parent[key][:at] + draw(texts) + parent[key][at:]
            case "wrap":
                parent[key] = draw(st.sampled_from([[parent[key]], {"x": parent[key]}]))
            case "double" if isinstance(parent, list):
                parent.insert(key, deepcopy(parent[key]))
            case "swap":
                other = draw(st.sampled_from(list(parent) if isinstance(parent, dict) else [0, -1]))
                parent[key], parent[other] = parent[other], parent[key]
            case "rename" if isinstance(parent, dict):
                parent[draw(texts)] = parent.pop(key)
            case _:
                parent[key] = draw(scalars)
    return value


def dumped(value: Any, *, ascii_only: bool = True) -> str:
    """JSON, with nesting and numbers beyond what Python would write; surrogates as escapes."""
    try:
        text = json.dumps(value, ensure_ascii=ascii_only)
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value)
    depth = 900 if len(text) % 2 else 100_000  # within and beyond what the parser takes
    text = text.replace(f'"{_DEEP}"', "[" * depth + "]" * depth)
    return text.replace(f'"{_HUGE}"', "9" * 5000)


@st.composite
def torn(draw: st.DrawFn, valid: bytes, most: int = 3) -> bytes:
    """Valid bytes that were cut, doubled, overwritten or coded otherwise."""
    content = valid
    for _ in range(draw(st.integers(1, most))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 40)))
        match draw(st.sampled_from(["cut", "drop", "insert", "double", "code", "bom"])):
            case "cut":
                content = content[:start]
            case "drop":
                content = content[:start] + content[end:]
            case "insert":
                content = content[:start] + draw(odd_bytes) + content[end:]
            case "double":
                content = content[:end] + content[start:]
            case "code":
                code = draw(st.sampled_from(["utf-16", "utf-32", "utf-8-sig", "latin-1"]))
                content = content.decode("utf-8", "replace").encode(code, "replace")
            case "bom":
                content = b"\xef\xbb\xbf" + content
    return content


odd_bytes = st.binary(max_size=12) | st.sampled_from(
    [
        *(b"\0", b"\xff", b"\xed\xa0\x80", b"\r", b"\n", b"\x0c", b"\xe2\x80\xa8", b"\xc2\x85"),
        *(b"{", b"[", b"}", b"]", b'"', b",", b":", b"\\", b"\\u0000", b"\\ud800"),
        *(b"NaN", b"-Infinity", b"1e999", b"9" * 5000),
        *(b"*a", b"&a ", b"<<: ", b"!!python/object:os.system", b"!!int x", b"2026-99-99"),
    ]
)


def long_texts(*pieces: str, length: int = LARGE) -> list[str]:
    """Each piece again and again: what makes a careless pattern take time with the square."""
    return [(piece * (length // len(piece) + 1))[:length] for piece in pieces]
