"""What goes to a chat model behind an API and what comes back: messages in, text out.

Partners, judges and critics that are not trained here speak through this; a policy under training
speaks in token ids (`engines/types.py`).
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
    """One question to a chat model.

    Attributes:
        messages: the whole conversation so far; the last one is not the assistant's.
        temperature: None leaves it to the provider, for models that refuse to be told.
        max_tokens: the reply is cut after that many tokens.
        seed: which of the possible answers is wanted. Two requests that differ in it alone ask for
            two samples; it is part of the answer's key, and sent on where the server takes one.
        schema: the JSON schema of the reply; None for free text. Asked of the provider where it
            can be, and to be checked by whoever reads the reply.
        purpose: what the call is made for, for the ledger alone.
    """

    messages: tuple[Message, ...]
    temperature: float | None
    max_tokens: int
    seed: int = 0
    schema: dict[str, Any] | None = None
    purpose: Literal["partner", "judge", "critic", "policy"] = "partner"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a chat model answered.

    Attributes:
        model: the model's name as the server gave it, which tells the snapshot behind an alias.
        cost_usd: what this call cost; 0 when it was free or cached, None when no price is known.
        is_cached: the answer was in the store, and nobody was called.
        finish_reason: "stop", or "length" when the reply was cut.
    """

    text: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    is_cached: bool = False
    finish_reason: str = "stop"


class Chat(Protocol):
    """Anything that answers messages.

    Attributes:
        id: the model's pinned name, and where it is served when that is not its maker.
    """

    @property
    def id(self) -> str: ...

    async def ask(self, request: ChatRequest) -> Reply:
        """Answer once; retries, limits, costs and the store of answers are seen to inside.

        Raises:
            RemoteError: no answer came in spite of all retries; this episode or judgement fails.
            BudgetError: the answer might cost more than is left; the run stops and keeps all.
            ConfigError: no retry would help: the key is refused, the model unknown.
        """
        ...
