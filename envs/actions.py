"""Codecs between the text that a model writes and an `Action`; bad text gives an invalid action."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final, Protocol

from envs.errors import quoted
from envs.types import Action, ActionType

MAX_ACTION_CHARS: Final = 10_000
"""The longest action text that any codec accepts, without the private note."""

_NOTE = re.compile(r"\s*<think>(.*?)(?:</think>|\Z)", re.DOTALL)
_OBJECT = re.compile(r"\{.*\}", re.DOTALL)
_FENCE = re.compile(r"```(?:json)?[ \t]*+\n?(.*?)```\Z", re.DOTALL | re.IGNORECASE)
# Control characters but tab and line ends, bidirectional embeddings and overrides (they make a
# transcript read differently from what is stored), and surrogates (they cannot be saved as UTF-8).
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_WORDLESS = (ActionType.NONE, ActionType.LEAVE)


class Codec(Protocol):
    """One way to write an action as text."""

    @property
    def name(self) -> str:
        """Its key in `CODECS`."""
        ...

    def encode(self, action: Action) -> str:
        """The text of `action`; an invalid action is written as doing nothing."""
        ...

    def decode(self, text: str) -> Action:
        """The action in `text`; an invalid NONE action with the reason where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's reply in two parts: a private note, None where it wrote none, and the action."""

    note: str | None
    action_text: str


def split_note(text: str) -> Reply:
    """Split a leading `<think>...</think>` from the action; an unclosed note leaves no action."""
    match = _NOTE.match(text)
    if match is None:
        return Reply(None, text.strip())
    return Reply(match[1].strip(), text[match.end() :].strip())


class LineCodec:
    """One action a line, for small models: say, gesture, do, leave, none."""

    name: Final = "line"
    _types: Final = {
        "say": ActionType.SPEAK,
        "gesture": ActionType.NON_VERBAL,
        "do": ActionType.ACT,
        "leave": ActionType.LEAVE,
        "none": ActionType.NONE,
    }
    _keywords: Final = {type_: keyword for keyword, type_ in _types.items()}

    def encode(self, action: Action) -> str:
        return f"{self._keywords[action.type]} {_one_line(action.argument)}".rstrip()

    def decode(self, text: str) -> Action:
        line = split_note(text).action_text
        if fault := _fault(line):
            return _invalid(fault)
        if len(line.splitlines()) > 1:
            return _invalid(f"got {len(line.splitlines())} lines, expected one action on one line.")
        keyword, _, argument = line.partition(" ")
        type_ = self._types.get(keyword.lower())
        if type_ is None:
            return _invalid(f"got {_quoted(keyword)}, expected say, gesture, do, leave or none.")
        if type_ in _WORDLESS and argument.strip():
            return _invalid(f"got words after {keyword!r}, expected it alone; use 'say' to speak.")
        return _action(type_, argument)


@dataclass(frozen=True, slots=True)
class JsonCodec:
    """SOTOPIA's form, with words and an act in one turn where there is something to agree on.

    `{"action_type": "speak", "argument": "Twelve is fair.", "act": "offer price=12"}`, bare or in a
    code fence; "act" may be left out or empty.

    Attributes:
        prose_is_speech: whether text without any JSON is said aloud, and a JSON object among prose
            is the action. Else both are invalid.
    """

    prose_is_speech: bool = False

    @property
    def name(self) -> str:
        return "json"

    def encode(self, action: Action) -> str:
        type_, argument = action.type, action.argument
        if action.words:  # what is said stands before the act, as people take their turns
            type_, argument = ActionType.SPEAK, action.words
        fields = {"action_type": type_.value, "argument": _one_line(argument)}
        if action.words:
            fields["act"] = _one_line(action.argument)
        return json.dumps(fields, ensure_ascii=False)

    def decode(self, text: str) -> Action:
        body = split_note(text).action_text
        if fault := _fault(body):
            return _invalid(fault)
        if fence := _FENCE.match(body):
            body = fence[1].strip()
        if self.prose_is_speech and not body.startswith(("{", "[", '"')):
            found = _OBJECT.search(body)
            if found is None:
                return Action(ActionType.SPEAK, _one_line(body))
            body = found[0]
        try:
            fields, end = json.JSONDecoder(object_pairs_hook=_unique_keys).raw_decode(body)
        except (ValueError, RecursionError) as error:
            return _invalid(
                f"{_why_not_json(error)}, expected one JSON object and nothing else; it begins "
                f"{_quoted(body)}."
            )
        if body[end:].strip():
            return _invalid("got more after the first JSON value, expected one object alone.")
        if not isinstance(fields, dict):
            return _invalid(f"got a JSON {type(fields).__name__}, expected an object.")
        return self._from_fields(fields)

    @staticmethod
    def _from_fields(fields: dict[str, object]) -> Action:
        name, argument = fields.get("action_type"), fields.get("argument", "")
        if not isinstance(name, str) or name not in _TYPE_NAMES:
            return _invalid(f"got action_type {_quoted(name)}, expected one of {_TYPE_LIST}.")
        if not isinstance(argument, str):
            return _invalid(
                f"got an argument of type {type(argument).__name__}, expected a string."
            )
        act = fields.get("act") or ""
        if not isinstance(act, str):
            return _invalid(f"got an act of type {type(act).__name__}, expected a string.")
        # JSON's \u escapes can hold forbidden characters that the reply itself did not show.
        if fault := next(filter(None, (_fault(part) for part in (argument, act) if part)), None):
            return _invalid(fault)
        type_ = ActionType(name)
        if not act.strip():
            return _action(type_, argument)
        if type_ is ActionType.LEAVE:
            return _invalid("got an act together with leaving, expected one of the two.")
        words = _one_line(argument) if type_ is ActionType.SPEAK else ""
        return Action(ActionType.ACT, _one_line(act), words=words)


CODECS: Final[dict[str, Codec]] = {"line": LineCodec(), "json": JsonCodec()}

_TYPE_NAMES: Final = frozenset(type_.value for type_ in ActionType)
_TYPE_LIST: Final = ", ".join(type_.value for type_ in ActionType)


def _action(type_: ActionType, argument: str) -> Action:
    if type_ in _WORDLESS:
        return Action(type_)
    words = _one_line(argument)
    if not words:
        return _invalid(f"got an action of type {type_.value!r} without words, expected some.")
    return Action(type_, words)


def _fault(text: str) -> str | None:
    if not text:
        return "got no action, expected one after the private note, if any."
    if len(text) > MAX_ACTION_CHARS:
        return f"got {len(text)} characters, expected at most {MAX_ACTION_CHARS}."
    if found := _FORBIDDEN.search(text):
        return f"got the character U+{ord(found[0]):04X}, expected no control or override marks."
    return None


def _invalid(reason: str) -> Action:
    return Action(ActionType.NONE, "", invalid=reason)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _quoted(value: object) -> str:
    return quoted(value, most=40)


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("got a key twice in one object")
    return fields


def _why_not_json(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"got text that is not JSON at character {error.pos}"
    return str(error) if str(error).startswith("got ") else "got JSON beyond all measure"
