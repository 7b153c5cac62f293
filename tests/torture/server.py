"""The tests' provider in a process of its own, so that what calls it can be forked and killed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import pytest

from tests.engines.remote_provider import Account, Fault, Provider, serving
from tests.training.provided import PRICES, replies
from tests.training.quick import quick_retries


@dataclass(frozen=True, slots=True)
class Server:
    """A provider that serves in another process.

    Attributes:
        words: options that make it partner and judge of a run.
    """

    words: tuple[str, ...]
    pipe: Connection

    def start_again(self, script: Sequence[Fault | None] = ()) -> None:
        """Begin new books; how the next requests go is told by the script (None goes well)."""
        self.pipe.send(script)
        self.pipe.recv()

    def account(self) -> Account:
        """Its own books."""
        self.pipe.send("account")
        found: Account = self.pipe.recv()
        return found


@contextmanager
def server(**options: Any) -> Iterator[Server]:
    """Serve until the block ends; options as of `Provider`."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(theirs, options))
    process.start()
    told = {"name": "model-a", "base_url": ours.recv(), "timeout_s": 2, **PRICES}
    words = [f"++{who}.model.{key}={told[key]}" for who in ("partner", "judge") for key in told]
    try:
        yield Server(tuple(words), ours)
    finally:
        ours.send("stop")
        process.join()


def _serve(pipe: Connection, options: dict[str, Any]) -> None:
    with serving(Provider(reply=replies, **options)) as provider:
        pipe.send(provider.base_url)
        while (asked := pipe.recv()) != "stop":
            if asked != "account":
                provider.start_again(asked)
            pipe.send(provider.account)


def with_quick_retries() -> None:
    """Calls that failed are tried again after milliseconds, in this process to its end."""
    quick_retries(pytest.MonkeyPatch())
