"""Calls OpenAI-compatible servers (vLLM, llama.cpp, Ollama) directly, with little CPU per call."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from engines.chat import ChatRequest, Message
from engines.remote.completion import read_completion
from engines.remote.endpoint import Endpoint
from engines.remote.failures import TOO_LONG, Failure, Remedy, failure_of_status
from engines.remote.http import open_session, proxy_of, read_body
from engines.remote.retries import parse_retry_after
from engines.remote.server_words import shown
from engines.remote.transport import Answer, response_format, sent_seed
from envs.errors import ConfigError

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

log = logging.getLogger(__name__)


class DirectTransport:
    """Sends requests to {base_url}/chat/completions over persistent connections.

    What the server refuses with an error that speaks of it (structured output, seeds, `max_tokens`,
    system messages) is left out, renamed or put into the first user message from then on, with a
    warning.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        if endpoint.base_url is None:
            raise ConfigError(f"{endpoint.model!r} has no base_url; set it, or go by litellm.")
        self._endpoint = endpoint
        self._url = endpoint.base_url.rstrip("/") + "/chat/completions"
        self._proxy = proxy_of(endpoint)
        self._refused_options: set[str] = set()
        self._session: ClientSession | None = None

    def __repr__(self) -> str:
        return f"DirectTransport({self._endpoint!r})"

    async def send(self, request: ChatRequest, key: str | None) -> Answer | Failure:
        """Make one attempt."""
        import aiohttp

        body = self._body(request)
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        try:
            async with self._open().post(
                self._url,
                data=json.dumps(body).encode(),
                headers=headers,
                allow_redirects=False,  # the key must not be sent elsewhere
                proxy=self._proxy,
            ) as response:
                content = await read_body(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            reason = f"could not be reached ({type(error).__name__})"
            return Failure(reason, Remedy.RETRY, was_billed=False, is_down=True)
        except TimeoutError:
            reason = f"gave no answer within {self._endpoint.timeout_s:g} s"
            return Failure(reason, Remedy.RETRY, was_billed=None)
        except aiohttp.ClientError as error:  # its text may quote headers
            reason = f"broke off ({type(error).__name__})"
            is_down = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
            return Failure(reason, Remedy.RETRY, was_billed=None, is_down=is_down)
        if isinstance(content, Failure):
            return content
        if response.status == 200:
            return read_completion(self._endpoint, content, key)
        return self._refused(response, content, body, key)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> ClientSession:
        """The session, opened by the first call in the event loop of that call."""
        if self._session is None:
            self._session = open_session(self._endpoint.timeout_s)
        return self._session

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        refused = self._refused_options
        messages = request.messages if SYSTEM not in refused else without_system(request.messages)
        body: dict[str, Any] = {
            "model": self._endpoint.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
        }
        limit = "max_completion_tokens" if "max_tokens" in refused else "max_tokens"
        body[limit] = request.max_tokens
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if self._endpoint.sends_seed and "seed" not in refused:
            body["seed"] = sent_seed(request.seed)
        if self._endpoint.sends_schema and "response_format" not in refused and request.schema:
            body["response_format"] = response_format(request.schema)
        return body

    def _refused(
        self, response: ClientResponse, content: bytes, body: dict[str, Any], key: str | None
    ) -> Failure:
        message = shown(content.decode(errors="replace"), key)
        if response.status in _OPTION_STATUSES and (option := refused_option(message, body)):
            if option not in self._refused_options:
                self._refused_options.add(option)
                log.warning("%s does not take %s: %s", self._endpoint.id, option, message[:300])
            reason = f"does not take {option}"
            return Failure(reason, Remedy.RETRY, was_billed=False)
        headers = response.headers
        retry_after_s = parse_retry_after(headers.get("Retry-After"))
        if retry_after_s is None and (wait_ms := parse_retry_after(headers.get("Retry-After-Ms"))):
            retry_after_s = wait_ms / 1000
        return failure_of_status(
            self._endpoint, response.status, message, retry_after_s=retry_after_s
        )


SYSTEM: Final = "a system message"
_OPTION_STATUSES: Final = (400, 422, 500, 501)
"""Some servers break where others refuse an option, as when a chat template raises an error."""

_ABOUT_SCHEMA: Final = re.compile(
    r"response.?format|json.?(?:schema|mode|object)|schema|structured|guided|grammar|constrain"
)
_ABOUT_SYSTEM: Final = re.compile(
    r"\bsystem\b.{0,20}\brole|\brole\b.{0,80}\bsystem\b"
    r"|\bsystem (?:message|prompt|instruction)s?\b.{0,40}\b(?:not|unsupported|disabled)\b"
    r"|roles? must alternate|only user and assistant roles|developer instruction is not enabled"
)


def refused_option(message: str, body: dict[str, Any]) -> str | None:
    """The dispensable option that a server's error message complains about, if any."""
    lower = message.lower()
    if any(hint in lower for hint in TOO_LONG):
        return None
    if "response_format" in body and _ABOUT_SCHEMA.search(lower):
        return "response_format"
    if "max_tokens" in body and re.search(r"use ['`\"\\]*max_completion_tokens", lower):
        return "max_tokens"
    if "seed" in body and re.search(r"\bseed\b", lower):
        return "seed"
    if body["messages"][0]["role"] == "system" and _ABOUT_SYSTEM.search(lower):
        return SYSTEM
    return None


def without_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The same conversation with the system's text at the head of the first user message."""
    first, *others = messages
    if first.role != "system":
        return tuple(messages)
    if not others or others[0].role != "user":
        return (Message("user", first.content), *others)
    return (Message("user", f"{first.content}\n\n{others[0].content}"), *others[1:])
