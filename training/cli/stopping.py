"""Stops a command by a signal: SIGTERM and SIGHUP, as clusters send them, do what Ctrl-C does."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, NoReturn

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_RESUME: Final = "resume="


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """In the block, each of the three signals raises `KeyboardInterrupt` with the signal.

    What an event loop has under way is cancelled, so that nobody waits for answers of models
    behind APIs. A signal that is ignored, as under nohup, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    for other in (signal.SIGTERM, signal.SIGHUP):  # a second one must not break the first's work
        signal.signal(other, _pass_over)
    with suppress(RuntimeError):  # no event loop is running
        # What the interrupt ends would be logged by asyncio, with a traceback, as the loop closes;
        # of what had not begun yet, Python would warn that nobody awaited it.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        warnings.filterwarnings("ignore", r"coroutine .* was never awaited", RuntimeWarning)
        for task in asyncio.all_tasks():
            task.cancel()
    raise KeyboardInterrupt(signal.Signals(number))


def _pass_over(number: int, frame: FrameType | None) -> None:
    """Unlike SIG_IGN, this also takes a signal that has arrived already."""


def signal_of(stopped: KeyboardInterrupt) -> signal.Signals:
    """The signal that an interrupt came from."""
    found = stopped.args[0] if stopped.args else signal.SIGINT
    return found if isinstance(found, signal.Signals) else signal.SIGINT


def resuming(error: BaseException, words: Sequence[str]) -> str | None:
    """The command that goes on with the run that an error came out of; None if there was no run.

    Args:
        words: of the command line, as they were typed.
    """
    places = [note for note in getattr(error, "__notes__", ()) if note.startswith(_RESUME)]
    if not places:
        return None
    kept = [word for word in words if not word.lstrip("+").startswith(_RESUME)]
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    started = ["-m", spec.name] if spec is not None else sys.argv[:1]
    return shlex.join(["python", *started, *kept, places[-1]])
