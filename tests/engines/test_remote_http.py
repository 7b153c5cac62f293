"""No answer takes more memory or time than it may, and the environment's proxies are heeded."""

from __future__ import annotations

import asyncio
import gzip
import os
import time
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from engines.chat import ChatRequest, Message
from engines.remote.direct_transport import DirectTransport
from engines.remote.endpoint import Endpoint
from engines.remote.failures import Failure
from engines.remote.http import MAX_BYTES, proxy_of
from engines.remote.transport import Answer
from envs.errors import ConfigError
from training.preflight.servers import ask_for_models

REQUEST = ChatRequest((Message("user", "Hello"),), 0.0, 9)
GOOD = b'{"model": "m", "choices": [{"message": {"content": "Hi."}}]}'

Write = Callable[[asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def head(*more: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", *more, "", "")).encode()


async def end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def sent_to(write: Write, *, timeout_s: float = 30.0) -> Answer | Failure:
    """What comes of a call to a server that answers by `write`, byte by byte as it likes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await write(writer)
        await end(writer)

    async def main() -> Answer | Failure:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/v1"
        transport = DirectTransport(Endpoint("model-a", base_url=url, timeout_s=timeout_s))
        try:
            return await transport.send(REQUEST, None)
        finally:
            await transport.close()
            server.close()

    return asyncio.run(main())


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(head("Connection: close"))
    chunk = b" " * 2**20
    for _ in range(200):
        writer.write(chunk)
        await writer.drain()


def packed(encoding: str, content: bytes) -> Write:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head(f"Content-Length: {len(content)}", f"Content-Encoding: {encoding}"))
        writer.write(content)
        await writer.drain()

    return write


def bomb(encoding: str) -> bytes:
    """As many spaces as eight times the limit, in some kilobytes."""
    squeeze = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    spaces = b" " * 2**20
    return b"".join(squeeze.compress(spaces) for _ in range(64)) + squeeze.flush()


def test_an_endless_body_is_cut() -> None:
    tracemalloc.start()
    failure = sent_to(endless)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(failure, Failure)
    assert "with more than 8 MB" in failure.reason
    assert most < 5 * MAX_BYTES


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_not_unpacked(encoding: str) -> None:
    content = bomb(encoding)
    tracemalloc.start()
    failure = sent_to(packed(encoding, content))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(failure, Failure)
    assert "with more than 8 MB" in failure.reason
    assert most < 5 * MAX_BYTES


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", gzip.compress(GOOD, mtime=0)),
        ("deflate", zlib.compress(GOOD)),
        ("deflate", zlib.compress(GOOD, wbits=-15)),
        ("identity", GOOD),
    ],
)
def test_what_was_packed_is_read(encoding: str, content: bytes) -> None:
    assert sent_to(packed(encoding, content)) == Answer("Hi.", "m", "stop", usage=None)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_what_cannot_be_unpacked_is_said(encoding: str) -> None:
    failure = sent_to(packed(encoding, GOOD))
    assert isinstance(failure, Failure)
    assert f"in '{encoding}' that cannot be read" in failure.reason


async def drips(writer: asyncio.StreamWriter) -> None:
    writer.write(head("Content-Length: 1000"))
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


def test_a_body_that_drips_ends_with_the_deadline() -> None:
    started = time.monotonic()
    failure = sent_to(drips, timeout_s=0.3)
    assert time.monotonic() - started < 5
    assert isinstance(failure, Failure)
    assert "no answer within 0.3 s" in failure.reason


def test_a_list_of_models_that_drips_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr("training.preflight.servers.TIMEOUT_S", 0.3)
    port: list[int] = []
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError, asyncio.CancelledError):
                await drips(writer)
            await end(writer)

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        ready.set()
        await asyncio.to_thread(stop.wait)
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        ready.wait()
        started = time.monotonic()
        endpoint = Endpoint("model-a", base_url=f"http://127.0.0.1:{port[0]}/v1")
        assert ask_for_models("partner.model", endpoint) == ()
        assert time.monotonic() - started < 5
    finally:
        stop.set()
        thread.join()


ELSEWHERE = Endpoint("model-a", base_url="http://models.example.org:8000/v1")


def test_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_of(ELSEWHERE) is None
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.org:3128")
    monkeypatch.setenv("HTTPS_PROXY", "secure.example.org:3129")
    assert proxy_of(ELSEWHERE) == "http://proxy.example.org:3128"
    secure = Endpoint("model-a", base_url="https://models.example.org/v1")
    assert proxy_of(secure) == "http://secure.example.org:3129"
    assert proxy_of(Endpoint("model-a", base_url="http://127.0.0.1:8000/v1")) is None
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert proxy_of(ELSEWHERE) is None
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", "socks5://me:secret@proxy.example.org")
    with pytest.raises(ConfigError, match="names a socks5 proxy for models") as caught:
        proxy_of(ELSEWHERE)
    assert "secret" not in str(caught.value)


def test_a_call_goes_by_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(head(f"Content-Length: {len(GOOD)}") + GOOD)
        await end(writer)

    async def main() -> Answer | Failure:
        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        transport = DirectTransport(ELSEWHERE)
        try:
            return await transport.send(REQUEST, None)
        finally:
            await transport.close()
            server.close()

    assert asyncio.run(main()) == Answer("Hi.", "m", "stop", usage=None)
    assert asked[0].startswith(b"POST http://models.example.org:8000/v1/chat/completions")
