"""SOTOPIA's markup, which says what parts of a scene or a goal each seat may read.

`<extra_info>` is for the owner of the goal. `<clarification_hint>` and `<strategy_hint>` are for no
player. `<p viewer="agent_0">` is for that seat alone (`"environment"` for none).
"""

from __future__ import annotations

import re
from typing import Final

_TAG: Final = re.compile(
    r"<(?P<end>/?)(?P<name>extra_info|clarification_hint|strategy_hint|p)"
    r"(?:\s+viewer=(['\"])(?P<viewer>environment|agent_\d+)\3)?\s*>"
)
_HINTS: Final = ("clarification_hint", "strategy_hint")
_LOOKS_LIKE_A_TAG: Final = re.compile(r"</?[A-Za-z][^<>]*>")
_EMPTIED: Final = re.compile(r"\(\s*\)")


def check_markup(text: str) -> str:
    """Check that every tag of `text` is known and closed in order; returns `text`.

    Raises:
        ValueError: one is not. (Pydantic turns it into an error that names the field.)
    """
    for found in _LOOKS_LIKE_A_TAG.finditer(text):
        if _TAG.fullmatch(found[0]) is None:
            raise ValueError(f"the tag {found[0][:60]!r} is unknown")
    open_tags: list[str] = []
    for tag in _TAG.finditer(text):
        if not tag["end"]:
            open_tags.append(tag["name"])
        elif not open_tags or open_tags.pop() != tag["name"]:
            raise ValueError(f"the tag {tag[0][:60]!r} closes what is not open")
    if open_tags:
        raise ValueError(f"the tag <{open_tags[-1]}> is never closed")
    return text


def seen_by(text: str, seat: int) -> str:
    """The parts of a checked `text` that `seat` may read: its own goal, or the scene."""
    return _render(text, f"agent_{seat}")


def seen_by_all(text: str) -> str:
    """The parts of a checked `text` that all seats may read."""
    return _render(text, None)


def _render(text: str, viewer: str | None) -> str:
    shown, position, hidden = [], 0, [False]
    for tag in _TAG.finditer(text):
        if not hidden[-1]:
            shown.append(text[position : tag.start()])
        position = tag.end()
        if tag["end"]:
            hidden.pop()
        else:
            hidden.append(hidden[-1] or not _shows(tag, viewer))
    shown.append(text[position:])
    words = _EMPTIED.sub("", "".join(shown))
    lines = (" ".join(line.split()).replace(" )", ")") for line in words.splitlines())
    return "\n".join(line for line in lines if line)


def _shows(tag: re.Match[str], viewer: str | None) -> bool:
    if tag["name"] in _HINTS or (tag["name"] == "extra_info" and viewer is None):
        return False
    return tag["viewer"] in (None, viewer)
