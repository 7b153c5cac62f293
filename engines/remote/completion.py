"""Reads a chat completion, which servers write in many ways; a good answer is kept for its text."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.remote.endpoint import Endpoint
from engines.remote.failures import Failure, Remedy, failure_of_status
from engines.remote.ledger import Usage
from engines.remote.server_words import shown, without_keys
from engines.remote.transport import Answer

_LONGEST_NUMBER: Final = 40
"""Digits; whole numbers with more are read as infinite."""

_FINISH: Final = {
    "max_tokens": "length",
    "model_length": "length",
    "safety": "content_filter",
    "recitation": "content_filter",
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
    "moderation": "content_filter",
}
"""Other names of reasons why a reply ended."""

_STATUSES: Final = {"rate_limit": 429, "overloaded": 503, "invalid_api_key": 401}
"""What error codes in words begin with, and the HTTP status that they stand for."""


class _PromptDetails(BaseModel):
    model_config = ConfigDict(strict=True)
    cached_tokens: int | None = Field(default=None, ge=0)


class _Usage(BaseModel):
    model_config = ConfigDict(strict=True)
    prompt_tokens: int = Field(gt=0)  # 0 cannot be
    completion_tokens: int = Field(default=0, ge=0)
    prompt_tokens_details: _PromptDetails | None = None


def read_completion(endpoint: Endpoint, content: bytes, key: str | None) -> Answer | Failure:
    """The answer in the body of a response with status 200, or the failure that it tells of.

    Args:
        key: the one that was sent; it is removed wherever the server quotes it.
    """
    try:
        text = content.decode("utf-8-sig", errors="replace")
        body = json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError):
        return _no_completion("it is not JSON")
    if not isinstance(body, dict):
        return _no_completion("it is not an object")
    return answer_in(endpoint, body, key)


def answer_in(endpoint: Endpoint, body: dict[str, Any], key: str | None) -> Answer | Failure:
    """The same of a body that was parsed."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    choice = choice if isinstance(choice, dict) else {}
    if error := body.get("error") or choice.get("error"):
        return failure_of_error(endpoint, error, key)
    message = choice.get("message")
    if not isinstance(message, dict):
        return _no_completion("it has no choices with a message")
    said, refusal = _words(message)
    told = choice.get("finish_reason")
    finish = (shown(told, key)[:40].lower() if isinstance(told, str) else "") or "stop"
    if finish == "error":
        return Failure("answered 200 with a reply that broke off", Remedy.RETRY, was_billed=None)
    if refusal and not said:
        said, finish = shown(refusal, key), "refusal"
    model = body.get("model")
    return Answer(
        text=without_keys(said, key),
        model=(shown(model, key)[:200] if isinstance(model, str) else "") or endpoint.model,
        finish_reason=_FINISH.get(finish, finish),
        usage=read_usage(body.get("usage")),
    )


def read_usage(told: object) -> Usage | None:
    """The tokens that a server says a call took; None where it says nothing that can be."""
    try:
        usage = _Usage.model_validate(told)
    except ValidationError:
        return None
    details = usage.prompt_tokens_details
    cached = (details.cached_tokens or 0) if details else 0
    return Usage(usage.prompt_tokens, usage.completion_tokens, min(cached, usage.prompt_tokens))


def failure_of_error(endpoint: Endpoint, error: object, key: str | None) -> Failure:
    """The failure that an error object within a response with status 200 stands for."""
    fields = error if isinstance(error, dict) else {}
    codes = [fields.get(name) for name in ("code", "status", "type")]
    message = shown(error if isinstance(error, str) else json.dumps(error), key)
    status = next(filter(None, map(_status, codes)), 500)
    return failure_of_status(endpoint, status, message)


def _words(message: dict[str, Any]) -> tuple[str, str]:
    """What a message says, and what it says in refusing; each may be empty."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    said = [part.get("text") if isinstance(part, dict) else part for part in parts]
    refused = [part.get("refusal") for part in (*parts, message) if isinstance(part, dict)]
    return _joined(said), _joined(refused)


def _joined(parts: list[Any]) -> str:
    return "".join(part for part in parts if isinstance(part, str))


def _status(code: object) -> int | None:
    """The HTTP status that an error code is or stands for."""
    if isinstance(code, str) and not code.isdecimal():
        known = (status for word, status in _STATUSES.items() if code.lower().startswith(word))
        return next(known, None)
    if isinstance(code, str | int) and not isinstance(code, bool) and len(str(code)) == 3:
        return int(code) if 400 <= int(code) < 600 else None
    return None


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else float("inf")


def _no_completion(fault: str) -> Failure:
    reason = f"answered 200 with something else than a chat completion ({fault})"
    return Failure(reason, Remedy.RETRY, was_billed=None)
