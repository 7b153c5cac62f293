"""Commands in processes of their own, which can be killed at any moment.

A process is forked from one that has imported everything already, so that an attempt costs a run
and not the seconds of its imports. The parent must not have computed anything with torch, since
threads do not survive a fork.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended.

    Attributes:
        code: its exit code; None where it was killed.
        wall_s: how long it ran.
        said: the last of what it wrote.
    """

    code: int | None
    wall_s: float
    said: str

    @property
    def has_traceback(self) -> bool:
        """Whether it failed without a sentence."""
        return "Traceback (most recent call last)" in self.said


def run(
    module: str,
    words: Sequence[str],
    log: Path,
    *,
    kill_after_s: float | None = None,
    limit_s: float = 300.0,
    prepare: Callable[[], None] = lambda: None,
) -> Ending:
    """Run a command as `python -m MODULE WORDS` would.

    Args:
        log: where its output is written.
        kill_after_s: when it and its children are killed; None lets it end.
        limit_s: a process that runs longer is killed, and its code is -1.
        prepare: called in the new process before the command.
    """
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(module, words, log, prepare)
    code: int | None = None
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        wall_s = time.monotonic() - started
        if ended:
            code = os.waitstatus_to_exitcode(status)
            break
        if wall_s > (limit_s if kill_after_s is None else kill_after_s):
            _kill(child)
            code = -1 if kill_after_s is None else None
            break
        time.sleep(0.002)
    return Ending(code, time.monotonic() - started, log.read_text(errors="replace")[-4000:])


def _become(module: str, words: Sequence[str], log: Path, prepare: Callable[[], None]) -> NoReturn:
    code = 70
    try:
        os.setsid()  # with its children, it is killed as one
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        prepare()
        sys.argv = [module, *words]
        command = importlib.import_module(module)
        try:
            command.run(command.COMMAND)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        os._exit(code)


def _kill(child: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)  # it may not have its own group yet
    with suppress(ChildProcessError):
        os.waitpid(child, 0)
