"""Calls the APIs of all providers through litellm, which only translates requests and replies.

Its retries, caches, callbacks and budgets stay off, since the client has its own. It costs some
milliseconds of CPU a call and seconds to import, so servers with a base URL are called directly.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any, ClassVar

from engines.chat import ChatRequest
from engines.remote.completion import answer_in
from engines.remote.endpoint import Endpoint
from engines.remote.failures import Failure, Remedy, failure_of_status
from engines.remote.retries import parse_retry_after
from engines.remote.server_words import shown
from engines.remote.transport import Answer, response_format, sent_seed
from envs.errors import ConfigError
from envs.extras import install

log = logging.getLogger(__name__)


class LitellmTransport:
    """Sends requests by `litellm.acompletion`."""

    _in_use: ClassVar[set[LitellmTransport]] = set()
    """All transports in use: litellm shares its connections among them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._litellm = import_litellm()
        takes = self._litellm.get_supported_openai_params(endpoint.model) or ()
        self._sends_seed = endpoint.sends_seed and "seed" in takes
        self._sends_schema = endpoint.sends_schema and "response_format" in takes
        for option in ("seed", "response_format"):
            if option not in takes:
                log.info("%s takes no %s; none is sent.", endpoint.id, option)

    def __repr__(self) -> str:
        return f"LitellmTransport({self._endpoint!r})"

    async def send(self, request: ChatRequest, key: str | None) -> Answer | Failure:
        """Make one attempt."""
        import openai  # all of litellm's exceptions are its

        self._in_use.add(self)
        try:
            async with asyncio.timeout(self._endpoint.timeout_s):  # its own is between two bytes
                response = await self._litellm.acompletion(**self._arguments(request), api_key=key)
        except (openai.APITimeoutError, TimeoutError):
            reason = f"gave no answer within {self._endpoint.timeout_s:g} s"
            return Failure(reason, Remedy.RETRY, was_billed=None)
        except openai.OpenAIError as error:
            return self._failure(error, key)
        return answer_in(self._endpoint, _as_body(response), key)

    async def close(self) -> None:
        """Close litellm's connections, unless another transport still uses them."""
        from litellm.llms.custom_httpx.async_client_cleanup import close_litellm_async_clients

        self._in_use.discard(self)
        if not self._in_use:
            await close_litellm_async_clients()  # type: ignore[no-untyped-call]
            self._litellm.in_memory_llm_clients_cache.flush_cache()  # else it uses closed ones

    def _arguments(self, request: ChatRequest) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": self._endpoint.model,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "max_tokens": request.max_tokens,
            "timeout": self._endpoint.timeout_s,
            "num_retries": 0,
            "max_retries": 0,
            "caching": False,
        }
        if request.temperature is not None:
            arguments["temperature"] = request.temperature
        if self._sends_seed:
            arguments["seed"] = sent_seed(request.seed)
        if request.schema is not None and self._sends_schema:
            arguments["response_format"] = response_format(request.schema)
        return arguments

    def _failure(self, error: Exception, key: str | None) -> Failure:
        """The failure that litellm's exception stands for; keys are removed from its message."""
        litellm = self._litellm
        message = shown(str(error), key)
        this_request = (litellm.ContextWindowExceededError, litellm.ContentPolicyViolationError)
        if isinstance(error, this_request):
            return Failure(f"refused: {message[:300]}", Remedy.OTHER_REQUEST, was_billed=False)
        status = getattr(error, "status_code", None)
        if isinstance(error, litellm.APIConnectionError) or not isinstance(status, int):
            return Failure(f"broke off: {message[:300]}", Remedy.RETRY, was_billed=None)
        headers = getattr(error, "litellm_response_headers", None) or {}
        retry_after_s = parse_retry_after(headers.get("retry-after"))
        return failure_of_status(self._endpoint, status, message, retry_after_s=retry_after_s)


def _as_body(response: Any) -> dict[str, Any]:
    """The body that litellm's response was made of, as far as it is read here.

    litellm reports 0 prompt tokens where the provider says nothing.
    """
    usage = getattr(response, "usage", None)
    details = getattr(usage, "prompt_tokens_details", None)
    return {
        "model": response.model,
        "choices": [
            {
                "message": {
                    "content": choice.message.content,
                    "refusal": getattr(choice.message, "refusal", None),
                },
                "finish_reason": choice.finish_reason,
            }
            for choice in (response.choices or ())[:1]
        ],
        "usage": {
            "prompt_tokens": getattr(usage, "prompt_tokens", None),
            "completion_tokens": getattr(usage, "completion_tokens", None),
            "prompt_tokens_details": {"cached_tokens": getattr(details, "cached_tokens", None)},
        },
    }


def import_litellm() -> Any:
    """Import litellm and switch off everything that it does beside translating.

    Raises:
        ConfigError: it is not installed.
    """
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else importing it goes to the network
    try:
        import litellm
    except ImportError:
        raise ConfigError(
            f"litellm is not installed; run {install('api')}, or set base_url to call "
            "an OpenAI-compatible server directly."
        ) from None
    litellm.suppress_debug_info = True  # it prints, not only logs
    litellm.turn_off_message_logging = True
    litellm.num_retries = 0
    litellm.cache = None
    for name in ("callbacks", "success_callback", "failure_callback", "input_callback"):
        setattr(litellm, name, [])
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)  # it logs what it sends
    return litellm
