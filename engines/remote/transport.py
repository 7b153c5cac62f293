"""One attempt to call a remote model: what is sent, and what an answer consists of.

A failure is a value, not an exception. No traceback can then show a request's headers, and the
ledger is up to date before anybody learns of the failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from engines.chat import ChatRequest
from engines.remote.failures import Failure
from engines.remote.ledger import Usage


def sent_seed(seed: int) -> int:
    """A request's seed as all servers take it: 31 bits.

    Gemini takes a signed 32-bit integer and refuses others, llama.cpp an unsigned one, OpenAI and
    vLLM 64 bits, of which gateways written in JavaScript keep 53.
    """
    return seed & 0x7FFF_FFFF


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer to one request.

    Attributes:
        finish_reason: see `engines.chat.Reply`.
        usage: None when the server did not report it, or something that cannot be.
    """

    text: str
    model: str
    finish_reason: str
    usage: Usage | None


class Transport(Protocol):
    """Sends requests to a model; each call is one attempt, without retries."""

    async def send(self, request: ChatRequest, key: str | None) -> Answer | Failure:
        """Make one attempt; raises nothing but cancellation."""
        ...

    async def close(self) -> None:
        """Close the connections; call it in the event loop that the transport was used in."""
        ...


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
