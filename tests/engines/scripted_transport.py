"""A transport that answers by script, and the client of a model over it."""

from __future__ import annotations

import asyncio
from typing import Any

from engines.chat import ChatRequest, Message
from engines.remote.client import RemoteChat
from engines.remote.endpoint import Endpoint
from engines.remote.failures import Failure, Remedy
from engines.remote.ledger import Ledger, Usage
from engines.remote.limits import Limiter
from engines.remote.prices import Price
from engines.remote.retries import Retries
from engines.remote.transport import Answer

ENDPOINT = Endpoint("model-a", base_url="http://127.0.0.1:1/v1", price=Price(1.0, 2.0))
AGAIN = Failure("broke off", Remedy.RETRY, was_billed=None)
BUSY = Failure("answered 429", Remedy.RETRY, was_billed=False)


def question(text: str = "Hello", **options: Any) -> ChatRequest:
    return ChatRequest(
        (Message("user", text),), **({"temperature": 0.0, "max_tokens": 9} | options)
    )


def answer(text: str = "Hi.") -> Answer:
    return Answer(text, "model-a-2026", "stop", Usage(1000, 10))


class Scripted:
    """A transport that answers by script, then with its own text; it can be held up."""

    def __init__(self, *script: Answer | Failure) -> None:
        self.script = list(script)
        self.asked: list[ChatRequest] = []
        self.free = asyncio.Event()
        self.free.set()

    async def send(self, request: ChatRequest, key: str | None) -> Answer | Failure:
        self.asked.append(request)
        await self.free.wait()
        return self.script.pop(0) if self.script else answer()

    async def close(self) -> None:
        pass


def chat_over(transport: Any, ledger: Ledger, **options: Any) -> RemoteChat:
    options = {"retries": Retries(max_attempts=4, base_s=0.0), "limiter": Limiter()} | options
    return RemoteChat(ENDPOINT, transport=transport, ledger=ledger, **options)
