"""Why an attempt to call a model failed, and what can be done about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from engines.remote.endpoint import Endpoint, key_variable_hint


class Remedy(Enum):
    """What the caller can do after a failed attempt."""

    RETRY = "another attempt may succeed"
    OTHER_REQUEST = "this request will never succeed, others may"
    OTHER_CONFIG = "no request will succeed before the configuration is changed"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt gave no answer.

    Attributes:
        reason: the end of a sentence that begins with the endpoint's name; holds no key.
        was_billed: False if surely not, None if it cannot be known.
        retry_after_s: how long the server asks callers to wait.
    """

    reason: str
    remedy: Remedy
    was_billed: bool | None
    retry_after_s: float | None = None


def failure_of_status(
    endpoint: Endpoint, status: int, message: str, *, retry_after_s: float | None = None
) -> Failure:
    """The failure that an HTTP status other than 200 stands for.

    Args:
        message: the server's message without any key; whole, since the error code often comes last.
    """
    message = " ".join(message.split())
    lower = message.lower()
    reason = f"answered {status}" + (f": {message[:300]}" if message else "")
    if status in (401, 403):  # its message may quote the key, whole or in part
        variable = endpoint.api_key_env or key_variable_hint(endpoint)
        return Failure(
            f"answered {status}, which refuses the key; set {variable} to one that may use it.",
            Remedy.OTHER_CONFIG,
            was_billed=False,
        )
    if status == 404:
        reason += f"; expected a server that knows the model {endpoint.model!r}; correct model or "
        reason += "base_url."
        return Failure(reason, Remedy.OTHER_CONFIG, was_billed=False)
    if status == 402 or (status == 429 and "insufficient_quota" in lower):
        reason += "; the account has no credit left."
        return Failure(reason, Remedy.OTHER_CONFIG, was_billed=False)
    if status in (408, 409, 425, 429):
        return Failure(reason, Remedy.RETRY, was_billed=False, retry_after_s=retry_after_s)
    if status >= 500:  # it may have worked before it broke
        return Failure(reason, Remedy.RETRY, was_billed=None, retry_after_s=retry_after_s)
    if status == 413 or any(hint in lower for hint in REQUEST_FAULTS):
        return Failure(reason, Remedy.OTHER_REQUEST, was_billed=False)
    reason += f"; correct the options of {endpoint.model!r}."
    return Failure(reason, Remedy.OTHER_CONFIG, was_billed=False)


REQUEST_FAULTS = (
    "context_length",
    "context length",
    "context window",
    "context size",
    "too long",
    "tokens allowed",
    "max_new_tokens",
    "content_filter",
    "content filter",
    "content policy",
    "content_policy",
    "content management policy",
    "usage policy",
    "data_inspection_failed",
)
"""Parts of messages that come with a 400 when one request is at fault, not the configuration."""
