"""What can come from outside in the place of what is expected: valid data, changed a little."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from envs.errors import ParleyError

_DEEP: Any = json.loads("[" * 400 + "]" * 400)

ODD_VALUES: Sequence[Any] = (
    *(None, True, 0, -1, 2**63, 10**30, 0.5, float("nan"), float("inf"), "", " ", "0"),
    *("\ud800", "a\0b", "\x1b[2J", "\u202e", "<p>", "é" * 50, "x" * 100_000),
    *([], {}, [[]], {"": ""}, {"a": {"a": 1}}, _DEEP),
)
"""Values that nobody means to write."""

NONSENSE: Sequence[bytes] = (
    *(b"", b" ", b"\0", b"\xff\xfe", b"\xef\xbb\xbf{}", b"null", b"[]", b"{}", b"0", b"NaN"),
    *(b"[" * 100_000, b'{"a":' * 100_000, b"9" * 10_000, b"\n" * 1000, b"---\n" * 50),
    *(b"a: &a [x, x]\nb: &b [*a, *a]\n", b"- " * 50_000, b'"\\ud800"', b"{" + b" " * 100_000),
)
"""Whole contents that are no data of any kind."""

Path = tuple[str | int, ...]


def paths(value: Any, start: Path = ()) -> list[Path]:
    """Where each value within a value is."""
    found = [start]
    entries = value.items() if isinstance(value, dict) else ()
    entries = enumerate(value) if isinstance(value, list) else entries
    for key, inner in entries:
        found += paths(inner, (*start, key))
    return found


def with_value(value: Any, path: Path, new: Any) -> Any:
    """A copy in which another value stands at one place."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = with_value(value[path[0]], path[1:], new)
    return copy


def without(value: Any, path: Path) -> Any:
    """A copy without what stands at one place."""
    if len(path) == 1:
        copy = dict(value) if isinstance(value, dict) else list(value)
        del copy[path[0]]
        return copy
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = without(value[path[0]], path[1:])
    return copy


@st.composite
def changed_json(draw: st.DrawFn, valid: Any) -> Any:
    """A valid value of JSON with one to three places changed, removed or doubled."""
    value = valid
    for _ in range(draw(st.integers(1, 3))):
        places = [path for path in paths(value) if path]
        if not places:
            break
        path = draw(st.sampled_from(places))
        if draw(st.integers(0, 3)) == 0:
            value = without(value, path)
        else:
            value = with_value(value, path, draw(st.sampled_from(ODD_VALUES)))
    return value


@st.composite
def changed_bytes(draw: st.DrawFn, valid: bytes) -> bytes:
    """Valid bytes with some flipped, cut out, doubled or put in; or nonsense."""
    if draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(NONSENSE) | st.binary(max_size=64))
    content = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        match draw(st.integers(0, 3)):
            case 0 if content:
                content[at] ^= 1 << draw(st.integers(0, 7))
            case 1:
                del content[at : at + draw(st.integers(1, 40))]
            case 2:
                content[at:at] = content[at : at + draw(st.integers(1, 40))]
            case _:
                content[at:at] = draw(st.binary(min_size=1, max_size=8))
    return bytes(content)


def to_text(value: Any) -> str:
    """JSON as Python writes it: NaN and lone surrogates as they are."""
    return json.dumps(value)


def read_or_refused(read: Callable[[], Any]) -> Any:
    """What was read, or the error of ours that refused it, which must be fit to be shown.

    Raises:
        AssertionError: it is not.
        Exception: any error that is not ours.
    """
    try:
        return read()
    except ParleyError as error:
        said = str(error)
        assert said.strip(), "refused without a word"
        assert len(said) < 2000, f"{len(said)} characters"
        odd = {c for c in said if not c.isprintable() and c not in "\n\t"}
        assert not odd, f"{odd} would reach the terminal"
        return error
