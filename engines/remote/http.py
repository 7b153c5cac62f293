"""Requests to servers: through the proxy that the environment names, with bounds on their answers.

A body may have some megabytes, also after it was unpacked, and the whole request has one deadline.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from engines.remote.endpoint import Endpoint
from engines.remote.failures import Failure, Remedy
from envs.errors import ConfigError

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

MAX_BYTES: Final = 8 * 2**20
CONNECT_S: Final = 10.0
KEEP_ALIVE_S: Final = 4.0
"""Idle connections are closed before uvicorn does it (after 5 s), which could lose a request."""


def open_session(timeout_s: float) -> ClientSession:
    """A session whose requests end within `timeout_s`, from connecting to the last byte."""
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
        timeout=aiohttp.ClientTimeout(
            total=timeout_s, sock_connect=min(CONNECT_S, 0.8 * timeout_s)
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # a small body may unpack to gigabytes
        headers={"Accept-Encoding": "identity"},
    )


async def read_body(response: ClientResponse) -> bytes | Failure:
    """The body, unpacked; a failure where it is too large or cannot be unpacked."""
    packed = bytearray()
    async for chunk in response.content.iter_any():
        packed += chunk
        if len(packed) > MAX_BYTES:
            response.close()
            return _too_large(response.status)
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return bytes(packed)
    try:
        body = _unpacked(bytes(packed), encoding)
    except zlib.error:
        body = None
    if body is None:
        reason = f"answered {response.status} with a body in {encoding[:40]!r} that cannot be read"
        return Failure(reason, Remedy.RETRY, was_billed=None)
    return body if len(body) <= MAX_BYTES else _too_large(response.status)


def proxy_of(endpoint: Endpoint) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name for a server.

    None for servers on this machine, which no proxy can reach.

    Raises:
        ConfigError: it is of a kind that is not supported.
    """
    parts = urlsplit(endpoint.base_url or "")
    if endpoint.base_url is None or endpoint.is_local or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    kind = proxy.partition("://")[0].lower()
    if kind not in ("http", "https"):  # without quoting the rest, which may hold a password
        raise ConfigError(
            f"The environment names a {kind} proxy for {endpoint.host}, but only http proxies can "
            f"be used; set {parts.scheme.upper()}_PROXY to one, or add the host to NO_PROXY."
        )
    return proxy


def _unpacked(packed: bytes, encoding: str) -> bytes | None:
    """The first `MAX_BYTES` + 1 bytes at most; None for an unknown encoding."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return None
    is_raw = encoding == "deflate" and packed[:1] and packed[0] & 0x0F != 8
    return zlib.decompressobj(-15 if is_raw else 47).decompress(packed, MAX_BYTES + 1)


def _too_large(status: int) -> Failure:
    reason = f"answered {status} with more than {MAX_BYTES // 2**20} MB"
    return Failure(reason, Remedy.RETRY, was_billed=None)
