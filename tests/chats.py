"""A chat model without a model: it answers by script or by a function, and keeps what was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from engines.chat import ChatRequest, Reply

Answer = str | Reply | Exception
"""What to answer: the text, a whole reply, or an error to raise (a RemoteError, a BudgetError)."""


class FakeChat:
    """A `Chat` for tests.

        FakeChat(["first answer", RemoteError("The server is down."), "third answer"])
        FakeChat(lambda request: request.messages[-1].content.upper())

    Args:
        answers: one answer a call, in the order of the calls; or a function of the request.
        id: the model's name, in the replies too.
        cost_usd: what each reply given as text costs.

    Attributes:
        requests: everything that was asked, in order.
    """

    def __init__(
        self,
        answers: Sequence[Answer] | Callable[[ChatRequest], Answer],
        *,
        id: str = "fake-1",
        cost_usd: float | None = 0.0,
    ) -> None:
        self._answers = answers
        self._id = id
        self._cost_usd = cost_usd
        self.requests: list[ChatRequest] = []

    @property
    def id(self) -> str:
        return self._id

    async def ask(self, request: ChatRequest) -> Reply:
        call = len(self.requests)
        self.requests.append(request)
        await asyncio.sleep(0)  # as a real call does, it lets others run
        answer = self._answer(call, request)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Reply):
            return answer
        return Reply(
            text=answer,
            model=self._id,
            prompt_tokens=sum(len(message.content.split()) for message in request.messages),
            completion_tokens=len(answer.split()),
            cost_usd=self._cost_usd,
        )

    def _answer(self, call: int, request: ChatRequest) -> Answer:
        if callable(self._answers):
            return self._answers(request)
        assert call < len(self._answers), (
            f"call {call + 1}, but only {len(self._answers)} answers were given; the request was "
            f"{request}"
        )
        return self._answers[call]
