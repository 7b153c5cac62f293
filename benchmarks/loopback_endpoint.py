"""An OpenAI-compatible endpoint that answers any chat completion after a fixed time, and no more.

    python benchmarks/loopback_endpoint.py --latency-ms 50

It prints the port it listens on, and serves until its input ends. The little CPU that it takes is
its own: it reads no request beyond its length.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

from common import parser

WORDS = (
    "Thank you for coming. I have thought about what you said, and I believe that we can find "
    "something that is good for both of us."
)
REPLY = json.dumps({"action_type": "speak", "argument": WORDS})
_BODY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "loopback",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": REPLY},
            }
        ],
        "usage": {"prompt_tokens": 500, "completion_tokens": 40, "total_tokens": 540},
    }
).encode()
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
) + _BODY
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One kept connection; requests on it come one after the other."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if blank and length and len(body) >= int(length[1]):
            self._received = body[int(length[1]) :]
            asyncio.get_running_loop().call_later(self._latency_s, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(_ANSWER)


async def serve(latency_s: float) -> None:
    """Answer until the input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(latency_s), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Read the options and serve."""
    arguments = parser(__doc__)
    arguments.add_argument("--latency-ms", type=float, default=50.0)
    asyncio.run(serve(arguments.parse_args().latency_ms / 1000))


if __name__ == "__main__":
    main()
