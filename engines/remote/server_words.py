"""Words of servers and models as they may be shown and kept: without keys, without control codes.

All that a server says passes here before it gets into an error, a log, a store or a report.
"""

from __future__ import annotations

import html
import json
import os
import re
from base64 import b64encode
from functools import lru_cache
from typing import Final
from urllib.parse import quote

MAX_CHARS: Final = 20_000
"""Of longer messages the middle is left out."""

PART: Final = 8
"""So many characters of a key in a row are taken for a part of it."""

KEY: Final = "[key]"
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")
_LIKE_A_KEY: Final = re.compile(r"\b(?:sk-|gsk_|xai-|nvapi-|hf_|r8_|AIza)[\w.*\u2026\u2022-]{3,}")
_ABRIDGED: Final = re.compile(
    r"(?<![\w-])[\w-]*+(?:\*{2,}|\.{3,}|\u2026|\u2022{2,})[\w*.\u2026\u2022-]*"
)
_CUT: Final = re.compile(r"[*.\u2026\u2022]+")


def shown(text: str, key: str | None = None) -> str:
    """A server's message on one line, as it may be printed.

    Args:
        key: the one that was sent; keys in the environment are looked for as well.
    """
    if len(text) > MAX_CHARS:
        text = f"{text[: MAX_CHARS // 2]} ... {text[-MAX_CHARS // 2 :]}"
    plain = without_keys(" ".join(without_codes(text).split()), key)
    plain = _ABRIDGED.sub(lambda found: _unless_of_key(found[0], key), plain)
    return _LIKE_A_KEY.sub(KEY, plain)


def without_codes(text: str) -> str:
    """A text without escape sequences, and with spaces for all that cannot be seen but line ends.

    What is printed on a terminal goes through here: it must not move the cursor, set a title or
    turn the direction of the text.
    """
    seen = _ESCAPES.sub("", text)
    return seen if seen.isprintable() else "".join(map(_visible, seen))


def _visible(character: str) -> str:
    return character if character.isprintable() or character == "\n" else " "


def without_keys(text: str, key: str | None) -> str:
    """A text without any key of ours, whole or in part, in whichever way it is encoded."""
    secrets = _secrets(key)
    for secret in secrets:
        for form in _forms(secret):
            text = text.replace(form, KEY)
    parts = _parts(secrets)
    if not parts or len(text) > MAX_CHARS:
        return text
    hidden = bytearray(len(text))
    for start in range(len(text) - PART + 1):
        if text[start : start + PART] in parts:
            hidden[start : start + PART] = b"\1" * PART
    if not any(hidden):
        return text
    marked = "".join("\0" if hide else c for c, hide in zip(text, hidden, strict=True))
    return re.sub("\0+", KEY, marked)


def _secrets(key: str | None) -> tuple[str, ...]:
    """Our key, and those that others would find in the environment."""
    known = [value for name, value in os.environ.items() if name.endswith(("_KEY", "_TOKEN"))]
    found = {value.strip() for value in known if len(value.strip()) >= PART}  # not plain words
    return tuple(sorted(found | ({key} if key else set()), key=len, reverse=True))


@lru_cache(maxsize=64)
def _forms(secret: str) -> tuple[str, ...]:
    """The secret as it is, and as servers quote it in JSON, addresses, HTML and base64."""
    twice = {form for once in _encoded(secret) for form in _encoded(once)}
    for ahead, shared in enumerate((0, 2, 3)):  # three bytes make four characters, with others'
        coded = b64encode(bytes(ahead) + secret.encode()).decode()[shared:].rstrip("=")
        twice |= {coded, coded.replace("+", "-").replace("/", "_")}
    return tuple(sorted(twice, key=len, reverse=True))


def _encoded(text: str) -> set[str]:
    in_url = quote(text, safe="")
    in_json = json.dumps(text)[1:-1]
    marks = {c for c in text if not c.isalnum()}
    escaped = {c: f"\\u{ord(c):04x}" for c in marks}
    return {
        text,
        in_url,
        re.sub("%..", lambda found: found[0].lower(), in_url),
        "".join(c if c.isalnum() else f"%{ord(c):02X}" for c in text),
        "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in text),
        "".join(f"%{byte:02X}" for byte in text.encode()),
        "".join(f"%{byte:02x}" for byte in text.encode()),
        in_json,
        in_json.replace("/", "\\/"),
        html.escape(text),
        "".join(escaped.get(c, c) for c in text),
        "".join(escaped[c].upper().replace("U", "u") if c in marks else c for c in text),
    }


@lru_cache(maxsize=64)
def _parts(secrets: tuple[str, ...]) -> frozenset[str]:
    return frozenset(
        form[start : start + PART]
        for secret in secrets
        if len(secret) >= PART
        for form in _forms(secret)
        for start in range(len(form) - PART + 1)
    )


def _unless_of_key(text: str, key: str | None) -> str:
    """What was abridged, unless it begins or ends like a key."""
    first, *_, last = _CUT.split(text)
    for secret in _secrets(key):
        if (len(first) >= 2 and secret.startswith(first)) or (
            len(last) >= 2 and secret.endswith(last)
        ):
            return KEY
    return text
