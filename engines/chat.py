"""The interface of chat models behind APIs: messages in, text out.

Partners, judges and critics that are not trained use it. A policy under training works with token
ids instead (`engines/types.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request to a chat model.

    Attributes:
        messages: the whole conversation so far; the last one is not the assistant's.
        temperature: None leaves it to the provider, for models that take none.
        max_tokens: the reply is cut after that many tokens.
        seed: two requests that differ in it alone ask for two samples. It is part of the key of
            the stored answer, and is sent to servers that take one.
        schema: the JSON schema of the reply; None for free text. It is sent to providers that take
            one; the reader of the reply must check it.
        purpose: the ledger account that the call is counted in.
    """

    messages: tuple[Message, ...]
    temperature: float | None
    max_tokens: int
    seed: int = 0
    schema: dict[str, Any] | None = None
    purpose: Literal["partner", "judge", "critic", "policy", "demonstrations", "scenes"] = "partner"


@dataclass(frozen=True, slots=True)
class Reply:
    """A chat model's answer.

    Attributes:
        model: the model's name in the server's reply, which shows the snapshot behind an alias.
        cost_usd: what this call cost; 0 when it was free or cached, None when no price is known.
        is_cached: the answer came from the store, without a call.
        finish_reason: "stop"; "length" when the reply was cut; "content_filter" when a filter
            stopped it; "refusal" when the provider marked it as one, and the text says it.
    """

    text: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    is_cached: bool = False
    finish_reason: str = "stop"

    @property
    def is_blocked(self) -> bool:
        """Whether it was refused, and asking again would not help."""
        return self.finish_reason in ("content_filter", "refusal")

    @property
    def fault(self) -> str | None:
        """Why it may be no whole answer, as the end of a sentence; None where nothing is known."""
        if self.finish_reason == "content_filter":
            return "stopped its reply by a content filter"
        if self.finish_reason == "refusal":
            return f"refused to answer: {self.text[:200]}"
        if self.finish_reason == "length":
            said = "" if self.text.strip() else " before it said a word"
            return f"gave a reply that was cut at max_tokens{said}; raise max_tokens"
        return None if self.text.strip() else "gave an empty reply"


class Chat(Protocol):
    """Answers requests with a chat model.

    Attributes:
        id: the model's pinned name, and its server when that is not the provider's.
    """

    @property
    def id(self) -> str: ...

    async def ask(self, request: ChatRequest) -> Reply:
        """Answer a request; includes retries, rate limits, costs and the store of answers.

        Raises:
            RemoteError: no answer came in spite of all retries; this episode or judgement fails.
            BudgetError: the answer might cost more than is left; the run stops and can be resumed.
            ConfigError: no retry would help, as when the key is refused or the model unknown.
        """
        ...
