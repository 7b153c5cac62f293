"""One attempt to call a remote model: its endpoint, and what an answer or a failure consists of.

A failure is a value, not an exception. No traceback can then show a request's headers, and the
ledger is up to date before anybody learns of the failure.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from engines.chat import ChatRequest
from engines.remote.ledger import Usage
from engines.remote.prices import Price
from envs.errors import ConfigError

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model and the server or provider that serves it.

    Attributes:
        model: its name as the server knows it; by litellm's names when `base_url` is None.
        base_url: of an OpenAI-compatible server, up to and including `/v1`; None goes to the
            model's provider by litellm.
        api_key_env: the name of the environment variable that holds the key, never the key; None
            sends none to a server, and leaves it to litellm's usual variables otherwise.
        price: None looks it up; a server on loopback is free unless told otherwise.
        weights_version: tells apart local models that changed under the same name, and their
            answers.
        timeout_s: for one attempt, from connecting to the last byte.
        sends_seed: ask the server for reproducible sampling.
        sends_schema: ask the server for structured output where a request has a schema.
    """

    model: str
    base_url: str | None = None
    api_key_env: str | None = None
    price: Price | None = None
    weights_version: str = ""
    timeout_s: float = 60.0
    sends_seed: bool = True
    sends_schema: bool = True

    def __post_init__(self) -> None:
        if self.timeout_s <= 0:
            raise ConfigError(f"timeout_s is {self.timeout_s}; expected more than 0 seconds.")
        if self.base_url is None:
            return
        parts = urlsplit(self.base_url)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                "base_url holds a user name, a password or what follows a question mark, which "
                "would end up in logs; put the key into an environment variable and name that in "
                "api_key_env."
            )
        if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port(parts):
            raise ConfigError(
                f"base_url is {self.base_url!r}; expected something like http://127.0.0.1:8000/v1."
            )

    @property
    def host(self) -> str:
        """What rate limits and pauses apply to: the server, or the model's provider."""
        if self.base_url is not None:
            return urlsplit(self.base_url).netloc
        return self.model.partition("/")[0] if "/" in self.model else "openai"

    @property
    def id(self) -> str:
        """The model's name, its weights' version, and the server when that is not its maker's."""
        name = f"{self.model}#{self.weights_version}" if self.weights_version else self.model
        if self.base_url is None:
            return name
        path = urlsplit(self.base_url).path.rstrip("/").removesuffix("/v1")
        return f"{name}@{self.host}{path}"  # gateways tell servers apart by the path

    @property
    def is_local(self) -> bool:
        """Whether it is served on this machine."""
        return self.base_url is not None and urlsplit(self.base_url).hostname in LOOPBACK


def _has_port(parts: SplitResult) -> bool:
    """Whether the port is valid, or left out."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def read_key(endpoint: Endpoint) -> str | None:
    """The endpoint's key, read from the environment at the moment it is needed.

    Raises:
        ConfigError: the variable is named but not set, or not fit for a header.
    """
    if endpoint.api_key_env is None:
        return None
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise ConfigError(
            f"The environment variable {endpoint.api_key_env} is not set; {endpoint.id} expects "
            "its key there."
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"The environment variable {endpoint.api_key_env} holds characters that no key has; "
            f"set it to the key for {endpoint.id}."
        )
    return key


def sent_seed(seed: int) -> int:
    """A request's seed as all servers take it: 31 bits.

    Gemini takes a signed 32-bit integer and refuses others, llama.cpp an unsigned one, OpenAI and
    vLLM 64 bits, of which gateways written in JavaScript keep 53.
    """
    return seed & 0x7FFF_FFFF


def redact_keys(text: str, key: str | None) -> str:
    """A server's message without any key that it quotes: ours, or one that litellm found."""
    known = [value for name, value in os.environ.items() if name.endswith(("_KEY", "_TOKEN"))]
    secrets = [value for value in known if len(value) >= 8]  # shorter ones occur in plain words
    for secret in (key, *secrets):
        if secret:
            text = text.replace(secret, "[key]")
    return text


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer to one request; `usage` is None when the server did not report it."""

    text: str
    model: str
    finish_reason: str
    usage: Usage | None


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


class Transport(Protocol):
    """Sends requests to a model; each call is one attempt, without retries."""

    async def send(self, request: ChatRequest, key: str | None) -> Answer | Failure:
        """Make one attempt; raises nothing but cancellation."""
        ...

    async def close(self) -> None:
        """Close the connections; call it in the event loop that the transport was used in."""
        ...


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


def key_variable_hint(endpoint: Endpoint) -> str:
    """Which variable to set where an endpoint has no `api_key_env`, in words."""
    if endpoint.base_url is not None:
        return "api_key_env to the name of an environment variable, and that variable"
    return (
        f"the environment variable that litellm reads for {endpoint.host} (such as OPENAI_API_KEY)"
    )


def response_format(schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema as the chat completions API takes it.

    Strict mode is asked for only where the schema allows it: closed, with every property required.
    """
    is_closed = schema.get("additionalProperties") is False
    is_whole = set(schema.get("required", ())) == set(schema.get("properties", ()))
    return {
        "type": "json_schema",
        "json_schema": {"name": "reply", "schema": schema, "strict": is_closed and is_whole},
    }
