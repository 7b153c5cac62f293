"""A store of answers: who asks the same again is answered without a call, also years later.

The file may be shared by processes one after another and at once. Reading waits for nobody.
Writing takes a lock of its own, because SQLite before 3.51.3 can damage a WAL that two connections
write to or checkpoint at the same moment; the operating system drops it when its process dies. An
answer is with the operating system when `put` returns, and survives a killed process. A rollback
journal would need no such lock, but waits 0.6 to 8 ms for the disk with each answer, where this
takes 0.05 ms, and all other calls of the process would wait with it.
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
from engines.remote.schema import set_up
from envs.errors import ConfigError, RemoteError, StoreError

SCHEMA_VERSION = 1

Policy = Literal["off", "greedy", "all"]
"""Which requests are answered from the store: none, those of temperature 0, or samples as well."""

_SCHEMA = """
CREATE TABLE answers (
    key TEXT PRIMARY KEY, answered_at REAL NOT NULL, request TEXT NOT NULL, reply TEXT NOT NULL);
"""


def answer_key(model: str, request: ChatRequest, *, weights_version: str = "") -> str:
    """The SHA-256 of all that an answer depends on.

    The seed is left out at temperature 0, where all samples are one; a schema's properties count
    in their order, in which the model fills them in.

    Args:
        model: its pinned name, and where it is served when that is not its maker.
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


class Answers:
    """Requests and their replies, whole, in one SQLite file on a local disk.

    Args:
        path: made with its folder when it is not there.
        policy: which requests are answered from here, and their answers kept.
        offline: answer all requests from here, whatever the policy, and fail where there is no
            answer: to replay what was played with a model that may be gone.
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
                        set_up(self._db, _SCHEMA, SCHEMA_VERSION, path, "name another file")
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
        """Whether a request is to be looked up here, and its answer kept."""
        if self.offline or self.policy == "all":
            return True
        return self.policy == "greedy" and request.temperature == 0

    def get(self, key: str) -> Reply | None:
        """The answer under a key, as a cached one that cost nothing.

        Raises:
            RemoteError: there is none, and nobody may be called.
        """
        with self._errors_named():
            row = self._db.execute("SELECT reply FROM answers WHERE key = ?", (key,)).fetchone()
        if row is not None:
            return replace(Reply(**json.loads(row[0])), cost_usd=0.0, is_cached=True)
        if self.offline:
            raise RemoteError(
                f"{self.path} holds no answer to this request, and with offline=true no model is "
                "called: replay with the configuration of the run that filled it, or set "
                "offline=false."
            )
        return None

    def put(self, key: str, request: ChatRequest, reply: Reply) -> None:
        """Keep an answer; the first one under a key stays, so that replays agree."""
        row = (key, time.time(), _json(_fields(request)), _json(_fields(reply)))
        with self._writing():
            self._db.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", row)

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
        """Be the only one of all processes who writes or checkpoints."""
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
    """What a dataclass holds; unlike `asdict`, without copying all that those hold in turn."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _json(value: Any) -> str:
    """JSON that is the same for the same value: without spaces, in ASCII."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_fields)
