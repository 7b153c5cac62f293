"""Asks an OpenAI-compatible server which models it has, to see that it can be reached."""

from __future__ import annotations

import json

from engines.event_loop import run_to_end
from engines.remote.endpoint import Endpoint, read_key
from engines.remote.failures import Failure
from engines.remote.http import open_session, proxy_of, read_body
from engines.remote.server_words import shown
from envs.errors import ConfigError

TIMEOUT_S = 5.0
"""Of the whole request."""
_LONGEST_NAME = 200


def ask_for_models(option: str, endpoint: Endpoint) -> tuple[str, ...]:
    """List the models that a server says it has; empty if it does not say.

    Args:
        option: the option that names the model, for error messages.

    Raises:
        ConfigError: no server can be reached, it is not an HTTP server, or it refuses the key.
    """
    key = read_key(endpoint)
    status, body = run_to_end(_get_models(option, endpoint, key))
    if status == 401:  # 403 may come for a key that may chat but not list models
        used = f"the key in {endpoint.api_key_env}" if endpoint.api_key_env else "no key"
        raise ConfigError(
            f"The server at {endpoint.base_url} was shown {used} and refuses it ({option}); set "
            f"{option}.api_key_env to the name of the environment variable that holds its key."
        )
    return _names(body, key) if status == 200 else ()


async def _get_models(option: str, endpoint: Endpoint, key: str | None) -> tuple[int, bytes]:
    """The status and the body of the answer; 0 and nothing where there is none."""
    import aiohttp

    assert endpoint.base_url is not None  # other endpoints have no server to ask
    where = f"{option}.base_url is {endpoint.base_url}"
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    url, proxy = endpoint.base_url.rstrip("/") + "/models", proxy_of(endpoint)
    async with open_session(TIMEOUT_S) as session:
        try:
            async with session.get(
                url, headers=headers, allow_redirects=False, proxy=proxy
            ) as response:
                body = await read_body(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ConfigError(
                f"{where}, but no server can be reached there ({_why(error)}); start it, or "
                "correct the address."
            ) from None
        except aiohttp.ClientHttpProxyError as error:
            raise ConfigError(
                f"{where}, but the proxy that the environment names answered {error.status}; "
                "correct the proxy, or add the server to NO_PROXY."
            ) from None
        except aiohttp.ClientResponseError:
            raise ConfigError(
                f"{where}, but what answers there is no HTTP server; correct the address."
            ) from None
        except (TimeoutError, aiohttp.ClientError):  # perhaps it is busy; calls are retried
            return 0, b""
    return (0, b"") if isinstance(body, Failure) else (response.status, body)


def _why(error: Exception) -> str:
    """What the operating system says of a connection that was not made."""
    cause = getattr(error, "os_error", error)
    return str(getattr(cause, "strerror", None) or cause)


def _names(body: bytes, key: str | None) -> tuple[str, ...]:
    """The ids in the server's list of models; empty if the list is malformed."""
    try:
        listed = json.loads(body)["data"]
        return tuple(shown(str(model["id"]), key)[:_LONGEST_NAME] for model in listed)
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()
