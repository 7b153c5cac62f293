"""An endpoint: a model, the server or provider that serves it, and where its key is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from engines.remote.prices import Price
from envs.errors import ConfigError, quoted


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model and the server or provider that serves it.

    Attributes:
        model: its name as the server knows it; by litellm's names when `base_url` is None.
        base_url: of an OpenAI-compatible server, up to and including `/v1`; None goes to the
            model's provider by litellm.
        api_key_env: the name of the environment variable that holds the key, never the key; None
            sends none to a server, and leaves it to litellm's usual variables otherwise.
        price: None looks it up; a server on loopback is free unless told otherwise.
        weights_version: tells apart local models that changed under the same name, and their
            answers.
        timeout_s: for one attempt, from connecting to the last byte.
        sends_seed: ask the server for reproducible sampling.
        sends_schema: ask the server for structured output where a request has a schema.
    """

    model: str
    base_url: str | None = None
    api_key_env: str | None = None
    price: Price | None = None
    weights_version: str = ""
    timeout_s: float = 60.0
    sends_seed: bool = True
    sends_schema: bool = True

    def __post_init__(self) -> None:
        if self.timeout_s <= 0:
            raise ConfigError(f"timeout_s is {self.timeout_s}; expected more than 0 seconds.")
        if self.base_url is None:
            return
        try:
            parts = urlsplit(self.base_url)
        except ValueError:  # of brackets that are not closed, or characters that no host has
            parts = urlsplit("")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                "base_url holds a user name, a password or what follows a question mark, which "
                "would end up in logs; put the key into an environment variable and name that in "
                "api_key_env."
            )
        if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port(parts):
            raise ConfigError(
                f"base_url is {quoted(self.base_url)}; expected something like http://127.0.0.1:8000/v1."
            )

    @property
    def host(self) -> str:
        """What rate limits and pauses apply to: the server, or the model's provider."""
        if self.base_url is not None:
            return urlsplit(self.base_url).netloc
        return self.model.partition("/")[0] if "/" in self.model else "openai"

    @property
    def id(self) -> str:
        """The model's name, its weights' version, and the server when that is not its maker's."""
        name = f"{self.model}#{self.weights_version}" if self.weights_version else self.model
        if self.base_url is None:
            return name
        path = urlsplit(self.base_url).path.rstrip("/").removesuffix("/v1")
        return f"{name}@{self.host}{path}"  # gateways tell servers apart by the path

    @property
    def is_local(self) -> bool:
        """Whether it is served on this machine."""
        return self.base_url is not None and _is_loopback(urlsplit(self.base_url).hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _has_port(parts: SplitResult) -> bool:
    """Whether the port is valid, or left out."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def read_key(endpoint: Endpoint) -> str | None:
    """The endpoint's key, read from the environment at the moment it is needed.

    Raises:
        ConfigError: the variable is named but not set, or not fit for a header.
    """
    if endpoint.api_key_env is None:
        return None
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise ConfigError(
            f"The environment variable {endpoint.api_key_env} is not set; {endpoint.id} expects "
            "its key there."
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"The environment variable {endpoint.api_key_env} holds characters that no key has; "
            f"set it to the key for {endpoint.id}."
        )
    return key


def key_variable_hint(endpoint: Endpoint) -> str:
    """Which variable to set where an endpoint has no `api_key_env`, in words."""
    if endpoint.base_url is not None:
        return "api_key_env to the name of an environment variable, and that variable"
    return (
        f"the environment variable that litellm reads for {endpoint.host} (such as OPENAI_API_KEY)"
    )
