"""A verdict that names one of a few possibilities: how it must look and how it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from envs.errors import UnscoredError
from judges.prompt_guard import clean
from judges.verdict import MAX_REASON_CHARS, read_object

C = TypeVar("C", bound=str | int | None)

_JSON_TYPES = {str: "string", int: "integer", type(None): "null"}


@dataclass(frozen=True, slots=True)
class Choice(Generic[C]):
    """What was chosen and why."""

    value: C
    reason: str


def choice_schema(key: str, choices: Sequence[C]) -> dict[str, Any]:
    """The JSON schema of an object with a reason and, under `key`, one of `choices`."""
    types = list(dict.fromkeys(_JSON_TYPES[type(choice)] for choice in choices))
    chosen = {"type": types[0] if len(types) == 1 else types, "enum": list(choices)}
    return {
        "type": "object",
        # The reason first, so that the choice follows from it.
        "properties": {"reason": {"type": "string"}, key: chosen},
        "required": ["reason", key],
        "additionalProperties": False,
    }


def read_choice(text: str, key: str, choices: Sequence[C], names: Sequence[str]) -> Choice[C]:
    """The choice in a reply.

    Args:
        names: the agents' labels in seat order; the reason gets seats for them.

    Raises:
        UnscoredError: it is not in order; the message says what is wrong, for the model to mend,
            and quotes nothing of the reply.
    """
    fields = read_object(text)
    if set(fields) != {"reason", key}:
        raise UnscoredError(f"its keys must be exactly reason and {key}.")
    reason, value = fields["reason"], fields[key]
    if not isinstance(reason, str) or not reason.strip():
        raise UnscoredError("its reason must be a sentence.")
    # True is 1 and 4.0 is 4 to Python, but neither is an answer to the question.
    found = [choice for choice in choices if choice == value and type(choice) is type(value)]
    if not found:
        raise UnscoredError(f"its {key} must be one of {listed(choices)}.")
    reason = " ".join(clean(reason)[:MAX_REASON_CHARS].split())
    for seat, name in enumerate(names):
        reason = reason.replace(name, f"seat {seat}")
    return Choice(found[0], reason)


def listed(choices: Sequence[str | int | None]) -> str:
    """The choices as they are told to a model."""
    return ", ".join("null" if choice is None else str(choice) for choice in choices)
