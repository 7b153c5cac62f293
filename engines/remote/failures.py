"""Why an attempt to call a model failed, and what can be done about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from engines.remote.endpoint import Endpoint, key_variable_hint


class Remedy(Enum):
    """What the caller can do after a failed attempt."""

    RETRY = "another attempt may succeed"
    OTHER_REQUEST = "this request will never succeed, others may"
    OTHER_CONFIG = "no request will succeed before the configuration is changed"
    UNCLEAR = "one of the last two; where others have succeeded, this request is at fault"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt gave no answer.

    Attributes:
        reason: the end of a sentence that begins with the endpoint's name; holds no key.
        was_billed: False if surely not, None if it cannot be known.
        retry_after_s: how long the server asks callers to wait.
        is_down: whether the server as a whole is away or not ready, and not this request at fault.
    """

    reason: str
    remedy: Remedy
    was_billed: bool | None
    retry_after_s: float | None = None
    is_down: bool = False


def failure_of_status(
    endpoint: Endpoint, status: int, message: str, *, retry_after_s: float | None = None
) -> Failure:
    """The failure that an HTTP status other than 200 stands for.

    Args:
        message: the server's message without any key; whole, since the error code often comes last.
        retry_after_s: as a header says it; else what the message says counts.
    """
    message = " ".join(message.split())
    lower = message.lower()
    reason = f"answered {status}" + (f": {message[:300]}" if message else "")
    variable = endpoint.api_key_env or key_variable_hint(endpoint)
    if status == 401:
        reason = f"answered 401, which refuses the key; set {variable} to one that may use it."
        return Failure(reason, Remedy.OTHER_CONFIG, was_billed=False)
    if status == 402 or (status == 429 and "insufficient_quota" in lower):
        reason += "; the account has no credit left."
        return Failure(reason, Remedy.OTHER_CONFIG, was_billed=False)
    if status == 404:
        reason += f"; expected a server that knows the model {endpoint.model!r}; correct model or "
        reason += "base_url."
        return Failure(reason, Remedy.OTHER_CONFIG, was_billed=False)
    if retry_after_s is None:
        retry_after_s = wait_in(message)
    if status in (408, 409, 425, 429):
        return Failure(reason, Remedy.RETRY, was_billed=False, retry_after_s=retry_after_s)
    if any(hint in lower for hint in TOO_LONG):
        return Failure(reason, Remedy.OTHER_REQUEST, was_billed=False)
    if status >= 500:  # it may have worked before it broke
        is_down = status in (502, 503, 504)
        return Failure(reason, Remedy.RETRY, None, retry_after_s=retry_after_s, is_down=is_down)
    if status == 413 or any(hint in lower for hint in REQUEST_FAULTS):
        return Failure(reason, Remedy.OTHER_REQUEST, was_billed=False)
    if status == 403:
        reason += f"; if that refuses the key, set {variable} to one that may use it."
    else:
        reason += f"; correct the options of {endpoint.model!r}."
    unclear = status in (400, 403, 422)
    return Failure(reason, Remedy.UNCLEAR if unclear else Remedy.OTHER_CONFIG, was_billed=False)


TOO_LONG: Final = (
    "context_length",
    "context length",
    "context window",
    "context size",
    "context_size",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "input length",
)
"""Parts of messages about a prompt that is too long for the model; some servers say so with 500."""

REQUEST_FAULTS: Final = (
    "too long",
    "tokens allowed",
    "max_new_tokens",
    "content_filter",
    "content filter",
    "content policy",
    "content_policy",
    "content management policy",
    "usage policy",
    "usage policies",
    "data_inspection_failed",
    "moderation",
    "flagged",
    "safety",
    "responsibleai",
)
"""Parts of messages that come with a 400 or 403 when one request is at fault, not the key."""

_UNITS_S: Final = {"m": 60.0, "s": 1.0, "h": 3600.0}
_AMOUNT: Final = re.compile(
    r"(\d+(?:\.\d+)?)\s*(ms|milliseconds?|h(?:ours?|rs?)?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?)"
    r"(?![a-z])"
)
_SENTENCE: Final = re.compile(
    rf"\b(?:try again|retry|wait)(?: in| after| for| at least)*\s+((?:{_AMOUNT.pattern}[\s,and]*)+)"
)
_FIELD: Final = re.compile(
    r"retry[-_ ]?(?:after|delay|in)[-_ ]?(ms|s(?:econds?)?)?[\"']?\s*[:=]\s*[\"']?"
    r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?(?![a-z\d])"
)


def wait_in(message: str) -> float | None:
    """Seconds to wait, as the text of an error says: "try again in 1m20s", "retryDelay": "36s"."""
    lower = message.lower()
    if told := _SENTENCE.search(lower):
        return sum(_seconds(amount[1], amount[2]) for amount in _AMOUNT.finditer(told[1]))
    if field := _FIELD.search(lower):
        return _seconds(field[2], field[3] or field[1] or "s")
    return None


def _seconds(number: str, unit: str) -> float:
    is_milli = unit == "ms" or unit.startswith("milli")
    return float(number) * (0.001 if is_milli else _UNITS_S[unit[0]])
