"""A chat provider on loopback that fails on purpose, and keeps its own account of what it served.

    async with Provider(fault_rate=0.3, faults=FAULTS) as provider:  # in the test's own loop
        chat = RemoteChat(Endpoint("model-a", base_url=provider.base_url), ...)

    with serving(Provider(reply=lambda body: '{"score": 11}')) as provider:  # in a thread
        ...

Faults of content (scores out of range, missing keys, a wrong language) are a matter of `reply`,
which gets the request's JSON body and returns the text of the answer.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from aiohttp import web

Fault = Literal[
    "busy",  # 429, to come back when one likes
    "busy_for_a_while",  # 429 with Retry-After
    "broken",  # 500
    "unavailable",  # 503 with Retry-After
    "hangs",  # no answer within any sensible time
    "cut",  # the connection is closed instead of an answer
    "cut_midway",  # the connection is closed amidst the body
    "truncated",  # a whole response whose JSON ends too early
    "invalid",  # a whole response that isn't JSON
    "no_choices",  # JSON that is no chat completion
]
FAULTS: tuple[Fault, ...] = Fault.__args__  # type: ignore[attr-defined]
REFUSED = ("busy", "busy_for_a_while", "unavailable")
"""Nothing was computed; all other faults cost the provider tokens, which it bills."""

Body = dict[str, Any]


@dataclass
class Account:
    """What a provider did, by its own books; money in nano-dollars.

    Attributes:
        delivered: for answers that went out whole; what a client can know of.
        undelivered: for tokens that were computed, but never arrived.
        most: the highest that billed money and the worst case of what was under way ever came to.
    """

    requests: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    delivered: int = 0
    undelivered: int = 0
    most: int = 0
    most_at_once: int = 0


class Provider:
    """An OpenAI-compatible server.

    Args:
        reply: the text that answers a request's body.
        faults: drawn from, with equal chances.
        fault_rate: how many of the requests go wrong.
        script: how the first requests go, in their order (None goes well); then it is drawn.
        input_nanousd, output_nanousd: the price of a token.
        latency_s: before each answer.
        retry_after: what the header says.
        key: a request without it gets a 401, whose text quotes what was sent.
        gives_usage: whether answers say how many tokens they took.
        refuses: names of body fields that get a 400.
        models: what it lists; nothing is not listed at all.

    Attributes:
        fault: the status and the text with which a body is refused; None where it is answered.
        change: the answer that is sent in the place of one.
    """

    def __init__(
        self,
        *,
        reply: Callable[[Body], str] = lambda body: f"re: {body['messages'][-1]['content']}",
        faults: Sequence[Fault] = FAULTS,
        fault_rate: float = 0.0,
        script: Sequence[Fault | None] = (),
        seed: int = 0,
        input_nanousd: int = 150,
        output_nanousd: int = 600,
        latency_s: float = 0.0,
        retry_after: str = "0.02",
        key: str | None = None,
        gives_usage: bool = True,
        refuses: Sequence[str] = (),
        models: Sequence[str] = (),
    ) -> None:
        self.account = Account()
        self.bodies: list[Body] = []
        self.fault: Callable[[Body], tuple[int, str] | None] = lambda body: None
        self.change: Callable[[Body], Body] = lambda answer: answer
        self._reply, self._faults, self._fault_rate = reply, faults, fault_rate
        self._script = list(script)
        self._rng = random.Random(seed)
        self._input_nanousd, self._output_nanousd = input_nanousd, output_nanousd
        self._latency_s, self._retry_after = latency_s, retry_after
        self._key, self._gives_usage, self._refuses = key, gives_usage, refuses
        self._models = models
        self._in_flight: Counter[int] = Counter()
        self._stopping = asyncio.Event()
        self._runner: web.AppRunner | None = None

    def start_again(self, script: Sequence[Fault | None] = ()) -> None:
        """Forget what was served, and take up another script."""
        self.account, self.bodies, self._script = Account(), [], list(script)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._serve)
        if self._models:
            app.router.add_get("/v1/models", self._list)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        self._stopping.set()  # those that hang
        await self._runner.cleanup()

    @property
    def base_url(self) -> str:
        assert self._runner is not None
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}/v1"

    async def _list(self, request: web.Request) -> web.Response:
        if wrong := self._wrong_key(request):
            return wrong
        return web.json_response({"object": "list", "data": [{"id": n} for n in self._models]})

    def _wrong_key(self, request: web.Request) -> web.Response | None:
        sent_key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._key is None or sent_key == self._key:
            return None
        return refused(401, f"Incorrect API key provided: {sent_key}.")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        account = self.account
        account.requests += 1
        number = account.requests
        if wrong := self._wrong_key(request):
            return wrong
        body: Body = await request.json()
        self.bodies.append(body)
        if (told := self.fault(body)) is not None:
            return refused(*told)
        for name in self._refuses:
            if name in body:
                return refused(400, f"Unknown field {name}.")
        prompt_tokens = sum(4 + len(m["content"]) // 4 for m in body["messages"])
        worst = prompt_tokens * self._input_nanousd + body["max_tokens"] * self._output_nanousd
        fault = self._draw()
        account.faults[str(fault)] += 1
        if fault in REFUSED:
            return self._turn_away(fault)
        self._in_flight[number] = worst
        account.most_at_once = max(account.most_at_once, len(self._in_flight))
        self._watch()
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        text = self._reply(body)
        completion_tokens = min(body["max_tokens"], 1 + len(text) // 4)
        cost = prompt_tokens * self._input_nanousd + completion_tokens * self._output_nanousd
        del self._in_flight[number]
        if fault is None:
            account.delivered += cost
            account.answers[body["messages"][-1]["content"]] += 1
        else:
            account.undelivered += cost
        answer = completion(text, body["model"])
        if self._gives_usage:
            answer["usage"] = {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
            }
        return await self._answer(request, fault, json.dumps(self.change(answer)))

    def _draw(self) -> Fault | None:
        if self._script:
            return self._script.pop(0)
        return self._rng.choice(self._faults) if self._rng.random() < self._fault_rate else None

    def _watch(self) -> None:
        account = self.account
        now = account.delivered + account.undelivered + self._in_flight.total()
        account.most = max(account.most, now)

    def _turn_away(self, fault: Fault) -> web.Response:
        status = 503 if fault == "unavailable" else 429
        response = refused(status, "Slow down.")
        if fault != "busy":
            response.headers["Retry-After"] = self._retry_after
        return response

    async def _answer(
        self, request: web.Request, fault: Fault | None, text: str
    ) -> web.StreamResponse:
        if fault == "broken":
            return refused(500, "Something went wrong.")
        if fault == "hangs":
            await self._stopping.wait()
        if fault in ("hangs", "cut"):
            close(request)
        if fault == "cut_midway":
            response = web.StreamResponse(headers={"Content-Length": str(len(text))})
            await response.prepare(request)
            await response.write(text[: len(text) // 2].encode())
            close(request)
            return response
        if fault == "truncated":
            text = text[:-20]
        if fault == "invalid":
            text = "<html>Bad gateway</html>"
        if fault == "no_choices":
            text = '{"object": "chat.completion", "model": "model-a", "choices": []}'
        return web.Response(text=text, content_type="application/json")


def completion(text: str, model: str) -> Body:
    """A chat completion without its usage."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "1", "object": "chat.completion", "model": f"{model}-2026", "choices": [choice]}


def refused(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)


def close(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()


@contextmanager
def serving(provider: Provider) -> Iterator[Provider]:
    """Serve in a thread of its own, for tests whose event loop is busy or not theirs."""
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with provider:
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait()
    try:
        yield provider
    finally:
        stop.set()
        thread.join()
