"""What a model's verdict must look like, how it is read, and how it is asked for again.

Harmless slips of form are repaired: a private note or prose around the one object, a code fence,
a comma before a closing bracket. Nothing that bears on a score is ever repaired: a number out of
its range, a missing or surplus key or a confused agent is refused with the reason, which goes back
to the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Generic, TypeVar
from unicodedata import normalize

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from engines.chat import Chat, ChatRequest, Message
from envs.actions import split_note
from envs.errors import UnscoredError, quoted
from judges.base import DIMENSION_RANGES, Scores
from judges.prompt_guard import clean

T = TypeVar("T")

MAX_REASON_CHARS: Final = 600
"""Longer reasons are cut when they are kept."""

_STRING_OR_COMMA: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|,(?=\s*+[}\]])', re.DOTALL)
"""A string, closed or not, or else a comma before a bracket. It takes time in proportion to a text:
what a dialogue has talked a model into must not hold up a run."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One reply, read and found in order; both in seat order."""

    scores: tuple[Scores, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked(Generic[T]):
    """A valid answer and what it took.

    Attributes:
        model: the model's name as the server gave it.
        asks: how many replies there were, the refused ones included.
    """

    value: T
    model: str
    asks: int


async def ask_until_valid(
    chat: Chat, request: ChatRequest, read: Callable[[str], T], max_asks: int
) -> Asked[T]:
    """Ask; as long as `read` refuses the reply, say why and ask again.

    Args:
        read: the reply's text to a value.
        max_asks: replies in all, at least 1.

    Raises:
        UnscoredError: no reply was in order.
        RemoteError, BudgetError, ConfigError: from the chat model.
    """
    refusal = ""
    for ask in range(1, max_asks + 1):
        reply = await chat.ask(ask_again(request, refusal, ask) if refusal else request)
        if reply.is_blocked:
            raise UnscoredError(f"{chat.id} {clean(reply.fault or '')}.")
        try:
            return Asked(read(reply.text), reply.model, ask)
        except UnscoredError as error:
            refusal = str(error)
            if reply.finish_reason == "length":
                count = reply.completion_tokens
                refusal = f"it was cut{f' after {count} tokens' if count else ''}; be brief."
            elif not reply.text.strip():
                refusal = "it was empty."
    raise UnscoredError(f"{chat.id} gave no valid reply in {max_asks}; of the last one: {refusal}")


def ask_again(request: ChatRequest, refusal: str, ask: int) -> ChatRequest:
    """The same question with the reason; the refused reply itself is not shown.

    Servers want the roles to take turns, and what a dialogue has talked a model into would only
    be in front of it a second time.
    """
    *others, last = request.messages
    note = f"\n\nThis is ask {ask}. Your last reply was refused: {refusal} Answer as asked."
    return replace(request, messages=(*others, Message(last.role, last.content + note)))


def read_object(text: str) -> dict[str, Any]:
    """The one JSON object in a reply.

    Raises:
        UnscoredError: there is none, it is broken or cut, or there are several.
    """
    body = split_note(text).action_text
    start = body.find("{")
    if start < 0:
        raise UnscoredError("there was no JSON object in it.")
    body = _STRING_OR_COMMA.sub(lambda found: "" if found[0] == "," else found[0], body[start:])
    try:
        value, end = _DECODER.raw_decode(body)
    except (ValueError, RecursionError) as error:
        raise UnscoredError(f"its JSON is broken ({_why_broken(error)}).") from error
    if "{" in body[end:]:
        raise UnscoredError("there was more than one JSON object in it, expected exactly one.")
    found: dict[str, Any] = value  # it began with a brace
    return found


def verdict_schema(names: Sequence[str], characters: Sequence[str], n_turns: int) -> dict[str, Any]:
    """The JSON schema of a verdict, without references, for servers that can enforce one.

    Args:
        names: the agents' labels in seat order.
        characters: their characters' names in seat order.
        n_turns: how many turns there are to cite.
    """
    parts = {
        name: _seat_schema(character, n_turns)
        for name, character in sorted(zip(names, characters, strict=True))
    }
    return _object_schema(parts)


def read_verdict(
    text: str, names: Sequence[str], characters: Sequence[str], n_turns: int
) -> Verdict:
    """The verdict in a reply; arguments as for `verdict_schema`.

    Raises:
        UnscoredError: it is not in order; the message says what is wrong, for the model to mend.
    """
    fields = read_object(text)
    if set(fields) != set(names):
        missing = ", ".join(sorted(set(names) - set(fields))) or "none"
        surplus = len(set(fields) - set(names))
        raise UnscoredError(
            f"its keys must be exactly {', '.join(sorted(names))}; missing: {missing}, "
            f"and {surplus} others were there."
        )
    said = [
        _read_seat(name, fields[name], character, n_turns)
        for name, character in zip(names, characters, strict=True)
    ]
    return Verdict(
        scores=tuple(
            Scores(**{dimension: float(getattr(seat, dimension)) for dimension in DIMENSION_RANGES})
            for seat in said
        ),
        reasons=tuple(_reason(seat, names) for seat in said),
    )


class _Said(BaseModel):
    """What every verdict says of one agent before its scores, so that these follow from it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    turns: tuple[int, ...]
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


_Number = Annotated[float, Field(allow_inf_nan=False)]
_SEAT: Final[type[_Said]] = create_model(
    "_SEAT",
    __base__=_Said,
    **{  # type: ignore[call-overload]
        name: (_Number, Field(ge=low, le=high)) for name, (low, high) in DIMENSION_RANGES.items()
    },
)


def _seat_schema(character: str, n_turns: int) -> dict[str, Any]:
    turns: dict[str, Any] = {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": max(0, n_turns - 1)},
    }
    scores = {
        name: {"type": "number", "minimum": low, "maximum": high}
        for name, (low, high) in DIMENSION_RANGES.items()
    }
    said = {
        "name": {"type": "string", "enum": [character]},
        "turns": turns,
        "reason": {"type": "string"},
    }
    return _object_schema(said | scores)


def _object_schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _read_seat(name: str, fields: object, character: str, n_turns: int) -> _Said:
    try:
        said = _SEAT.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        raise UnscoredError(f"{name}: {_first_fault(error)}.") from error
    if spelling(said.name) != spelling(character):
        raise UnscoredError(
            f"{name} has another name there than in the record: do not confuse the agents."
        )
    unknown = [turn for turn in said.turns if not 0 <= turn < n_turns]
    if unknown:
        raise UnscoredError(
            f"{name}: it cites turn {quoted(unknown[0], 20)}, but the turns are 0 to {n_turns - 1}."
        )
    if n_turns and not said.turns:
        raise UnscoredError(f"{name}: it cites no turn, expected at least one under 'turns'.")
    return said


def spelling(name: str) -> str:
    """A name in the one spelling that names are compared in.

    Models write accents composed (Unicode's NFC) and apostrophes straight or curly as they like.
    """
    return " ".join(normalize("NFC", name).translate(_APOSTROPHES).split())


_APOSTROPHES: Final = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201b\u02bc\u02b9\u2032\uff07\u00b4`", "'")
)


def _reason(said: _Said, names: Sequence[str]) -> str:
    """The reason with seats for labels, which mean another agent in every second sample."""
    reason = clean(said.reason)[:MAX_REASON_CHARS]
    for seat, name in enumerate(names):
        reason = reason.replace(name, f"seat {seat}")
    cited = ", ".join(map(str, sorted(set(said.turns))))
    return f"{reason} (turns {cited})" if cited else reason


def _first_fault(error: ValidationError) -> str:
    """What is wrong, in our words: of the reply only numbers are quoted, lest words of the dialogue
    get out of the record on this way.
    """
    fault = error.errors(include_url=False, include_context=False)[0]
    if fault["type"] == "extra_forbidden":
        return "it has a key that was not asked for"
    place = ".".join(map(str, fault["loc"])) or "it"
    is_number = isinstance(fault["input"], int | float)
    return f"{place}: {fault['msg']}" + (f", got {quoted(fault['input'], 20)}" if is_number else "")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return fields


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number of JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _why_broken(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return str(error) if isinstance(error, ValueError) else "nested too deeply"
