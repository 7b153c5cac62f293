"""Calls OpenAI-compatible servers (vLLM, llama.cpp, Ollama) directly, with little CPU per call."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.chat import ChatRequest
from engines.remote.endpoint import Endpoint
from engines.remote.failures import Failure, Remedy, failure_of_status
from engines.remote.ledger import Usage
from engines.remote.retries import parse_retry_after
from engines.remote.server_words import redact_keys
from engines.remote.transport import Answer, response_format, sent_seed
from envs.errors import ConfigError

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

log = logging.getLogger(__name__)

CONNECT_S = 10.0
KEEP_ALIVE_S = 4.0
"""Idle connections are closed before uvicorn does it (after 5 s), which could lose a request."""


class _PromptDetails(BaseModel):
    model_config = ConfigDict(strict=True)
    cached_tokens: int | None = Field(default=None, ge=0)


class _Usage(BaseModel):
    model_config = ConfigDict(strict=True)
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(default=0, ge=0)
    prompt_tokens_details: _PromptDetails | None = None

    def to_usage(self) -> Usage | None:
        """As the ledger takes it; None where 0 prompt tokens are reported, which cannot be."""
        if not self.prompt_tokens:
            return None
        details = self.prompt_tokens_details
        cached = (details.cached_tokens or 0) if details else 0
        return Usage(self.prompt_tokens, self.completion_tokens, cached)


class _Message(BaseModel):
    model_config = ConfigDict(strict=True)
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    model_config = ConfigDict(strict=True)
    message: _Message
    finish_reason: str | None = None


class _Body(BaseModel):
    model_config = ConfigDict(strict=True)
    model: str
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class DirectTransport:
    """Sends requests to {base_url}/chat/completions over persistent connections.

    An option that the server refuses by name with a 400 (structured output, seeds, `max_tokens`) is
    left out or renamed from then on, with a warning.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        if endpoint.base_url is None:
            raise ConfigError(f"{endpoint.model!r} has no base_url; set it, or go by litellm.")
        self._endpoint = endpoint
        self._url = endpoint.base_url.rstrip("/") + "/chat/completions"
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
            ) as response:
                content = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            reason = f"could not be reached ({type(error).__name__})"
            return Failure(reason, Remedy.RETRY, was_billed=False)
        except TimeoutError:
            reason = f"gave no answer within {self._endpoint.timeout_s:g} s"
            return Failure(reason, Remedy.RETRY, was_billed=None)
        except aiohttp.ClientError as error:  # its text may quote headers
            reason = f"broke off ({type(error).__name__})"
            return Failure(reason, Remedy.RETRY, was_billed=None)
        if response.status == 200:
            return self._read(content)
        return self._refused(response, content, body, key)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> ClientSession:
        """The session, opened by the first call in the event loop of that call."""
        import aiohttp

        if self._session is None:
            timeout_s = self._endpoint.timeout_s
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
                timeout=aiohttp.ClientTimeout(
                    total=timeout_s, sock_connect=min(CONNECT_S, timeout_s)
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._endpoint.model,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        }
        refused = self._refused_options
        limit = "max_completion_tokens" if "max_tokens" in refused else "max_tokens"
        body[limit] = request.max_tokens
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if self._endpoint.sends_seed and "seed" not in refused:
            body["seed"] = sent_seed(request.seed)
        if self._endpoint.sends_schema and "response_format" not in refused and request.schema:
            body["response_format"] = response_format(request.schema)
        return body

    def _read(self, content: bytes) -> Answer | Failure:
        try:
            body = _Body.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "body"
            reason = f"answered 200 with something else than a chat completion ({where}: "
            return Failure(f"{reason}{first['msg']})", Remedy.RETRY, was_billed=None)
        choice = body.choices[0]
        return Answer(
            text=choice.message.content or choice.message.refusal or "",
            model=body.model,
            finish_reason=choice.finish_reason or "stop",
            usage=body.usage.to_usage() if body.usage else None,
        )

    def _refused(
        self, response: ClientResponse, content: bytes, body: dict[str, Any], key: str | None
    ) -> Failure:
        message = redact_keys(content.decode(errors="replace"), key)
        if response.status in (400, 422) and (option := refused_option(message, body)):
            if option not in self._refused_options:
                self._refused_options.add(option)
                log.warning("%s does not take %s: %s", self._endpoint.id, option, message[:300])
            reason = f"does not take {option}"
            return Failure(reason, Remedy.RETRY, was_billed=False)
        retry_after_s = parse_retry_after(response.headers.get("Retry-After"))
        return failure_of_status(
            self._endpoint, response.status, message, retry_after_s=retry_after_s
        )


def refused_option(message: str, body: dict[str, Any]) -> str | None:
    """The dispensable option that a server's error message complains about, if any."""
    if "response_format" in body and "response_format" in message:
        return "response_format"
    if "max_tokens" in body and re.search(r"use ['`\"\\]*max_completion_tokens", message.lower()):
        return "max_tokens"
    if "seed" in body and re.search(r"\bseed\b", message):
        return "seed"
    return None
