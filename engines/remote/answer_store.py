"""A store of answers on disk: a request that was answered before is not sent again.

Several processes may share the file, also at the same time. Readers never wait. Writers take a
separate file lock, because SQLite before 3.51.3 can damage a WAL that two connections write to or
checkpoint at the same moment; the operating system releases it when its process dies. An answer has
reached the operating system when `put` returns, so it survives a killed process; after the next
`flush` it survives a loss of power. A rollback journal would need no such lock, but waits 0.6 to 8
ms for the disk with each answer, and all other calls of the process with it, where this takes 0.05
ms.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

from engines.chat import ChatRequest, Reply
from engines.remote.sqlite_file import prepare_database, put_on_disk
from envs.errors import ConfigError, RemoteError, StoreError

SCHEMA_VERSION = 1

Policy = Literal["off", "greedy", "all"]
"""Which requests are answered from the store: none, those at temperature 0, or samples as well."""

_SCHEMA = """
CREATE TABLE answers (
    key TEXT PRIMARY KEY, answered_at REAL NOT NULL, request TEXT NOT NULL, reply TEXT NOT NULL);
"""


def answer_key(model: str, request: ChatRequest, *, weights_version: str = "") -> str:
    """The key of a request's answer: the SHA-256 of everything that the answer depends on.

    The seed is left out at temperature 0, where it changes nothing. The order of a schema's
    properties matters, since the model fills them in in that order.

    Args:
        model: its pinned name, and the server when that is not its provider's.
        weights_version: tells apart answers of local models that changed under the same name.
    """
    temperature = request.temperature
    parts = {
        "model": model,
        "weights_version": weights_version,
        "messages": [[message.role, message.content] for message in request.messages],
        "temperature": None if temperature is None else float(temperature),
        "max_tokens": request.max_tokens,
        "schema": request.schema,
        "seed": None if temperature == 0 else request.seed,
    }
    return hashlib.sha256(_json(parts).encode("ascii")).hexdigest()


class AnswerStore:
    """Requests and their replies in one SQLite file on a local disk.

    Args:
        path: created with its folder when it is not there.
        policy: which requests are looked up here and their answers kept.
        offline: answer all requests from here, whatever the policy, and fail where there is no
            answer: to replay a run whose model may be gone.
    """

    def __init__(self, path: Path, *, policy: Policy = "greedy", offline: bool = False) -> None:
        if policy not in get_args(Policy):
            raise ConfigError(
                f"the policy of the store of answers is {policy!r}, but must be one of "
                f"{', '.join(get_args(Policy))}."
            )
        if offline and not path.is_file():
            raise ConfigError(
                f"there is no store of answers at {path}: name the one of the run to be replayed, "
                "or let the models be called with offline=false."
            )
        self.path = path
        self.policy = policy
        self.offline = offline
        self._lock = self._open_lock()
        try:
            with self._errors_named():
                self._db = sqlite3.connect(path, isolation_level=None)
                try:
                    with self._writing():
                        prepare_database(
                            self._db, _SCHEMA, SCHEMA_VERSION, path, "name another file"
                        )
                except BaseException:
                    self._db.close()
                    raise
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._writing():
            self._db.close()
        os.close(self._lock)

    def covers(self, request: ChatRequest) -> bool:
        """Whether the policy says to look the request up here and to keep its answer."""
        if self.offline or self.policy == "all":
            return True
        return self.policy == "greedy" and request.temperature == 0

    def get(self, key: str) -> Reply | None:
        """The stored answer with that key, marked as cached and free of cost; None without one.

        Raises:
            RemoteError: there is none, and the store is offline.
            StoreError: what is stored is no answer.
        """
        with self._errors_named():
            row = self._db.execute("SELECT reply FROM answers WHERE key = ?", (key,)).fetchone()
        if row is not None:
            return replace(self._reply(row[0]), cost_usd=0.0, is_cached=True)
        if self.offline:
            raise RemoteError(
                f"{self.path} holds no answer to this request, and with offline=true no model is "
                "called: replay with the configuration of the run that filled it, or set "
                "offline=false."
            )
        return None

    def put(self, key: str, request: ChatRequest, reply: Reply) -> None:
        """Store an answer; the first one with a key stays, so that replays agree."""
        row = (key, time.time(), _json(_fields(request)), _json(_fields(reply)))
        with self._writing():
            self._db.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", row)

    def flush(self) -> None:
        """Wait until all answers so far are on disk."""
        if not self.offline:
            with self._writing():
                put_on_disk(self._db, SCHEMA_VERSION)

    def _reply(self, stored: Any) -> Reply:
        try:
            reply = Reply(**json.loads(stored))
        except (TypeError, ValueError, RecursionError):
            reply = None
        if reply is not None:
            said = (reply.text, reply.model, reply.finish_reason)
            counted = (reply.prompt_tokens, reply.completion_tokens)
            if all(type(each) is str for each in said) and all(type(n) is int for n in counted):
                return reply
        raise StoreError(
            f"{self.path} holds something else than an answer where one should be: it was changed "
            "or damaged. Bring back a copy of it, or name another file."
        )

    def _open_lock(self) -> int:
        # Not the database itself: closing any descriptor of that would drop SQLite's own locks.
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(
                f"cannot write beside {self.path} ({error.strerror}): choose a folder that you may "
                "write to."
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Exclude all other processes from writing and checkpointing."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            with self._errors_named():
                yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Turn SQLite's errors into ours, with the file's name."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(
                f"SQLite failed on the store of answers {self.path} ({error}): see whether the "
                "disk is full, and whether the file may be read and written and is such a store."
            ) from error


def _fields(value: Any) -> dict[str, Any]:
    """A dataclass's fields by name; unlike `asdict` it copies nothing inside them."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _json(value: Any) -> str:
    """JSON without spaces, in ASCII: equal values give equal texts."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_fields)
