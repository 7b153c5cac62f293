"""Asks an OpenAI-compatible server which models it has, to see that it can be reached."""

from __future__ import annotations

import json
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from engines.remote.endpoint import Endpoint, read_key
from envs.errors import ConfigError

TIMEOUT_S = 5.0


def ask_for_models(option: str, endpoint: Endpoint) -> tuple[str, ...]:
    """List the models that a server says it has; empty if it does not say.

    Args:
        option: the option that names the model, for error messages.

    Raises:
        ConfigError: no server can be reached, it is not an HTTP server, or it refuses the key.
    """
    assert endpoint.base_url is not None  # other endpoints have no server to ask
    parts = urlsplit(endpoint.base_url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    key = read_key(endpoint)
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    with closing(kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)) as connection:
        try:
            connection.connect()
        except OSError as error:
            raise ConfigError(
                f"{option}.base_url is {endpoint.base_url}, but no server can be reached there "
                f"({error.strerror or error}); start it, or correct the address."
            ) from None
        try:
            connection.request("GET", parts.path.rstrip("/") + "/models", headers=headers)
            response = connection.getresponse()
            status, body = response.status, response.read()
        except OSError:  # perhaps it is busy; the calls themselves are retried
            return ()
        except HTTPException:
            raise ConfigError(
                f"{option}.base_url is {endpoint.base_url}, but what answers there is no HTTP "
                "server; correct the address."
            ) from None
    if status == 401:  # 403 may come for a key that may chat but not list models
        used = f"the key in {endpoint.api_key_env}" if endpoint.api_key_env else "no key"
        raise ConfigError(
            f"The server at {endpoint.base_url} was shown {used} and refuses it ({option}); set "
            f"{option}.api_key_env to the name of the environment variable that holds its key."
        )
    return _names(body) if status == 200 else ()


def _names(body: bytes) -> tuple[str, ...]:
    """The ids in the server's list of models; empty if the list is malformed."""
    try:
        listed = json.loads(body)["data"]
        return tuple(str(model["id"]) for model in listed)
    except (ValueError, KeyError, TypeError):
        return ()
