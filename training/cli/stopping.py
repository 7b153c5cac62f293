"""Stops a command by a signal: SIGTERM and SIGHUP, as clusters send them, do what Ctrl-C does."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Final, NoReturn

from engines.event_loop import running_loop

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_RESUME: Final = "resume="


@contextmanager
def stopping_on_signals(signals: Sequence[signal.Signals] = _SIGNALS) -> Iterator[None]:
    """In the block, each of the signals raises `KeyboardInterrupt` with the signal.

    What an event loop of ours has under way is cancelled, so that nobody waits for answers of
    models behind APIs; one that runs outside of the block, as a notebook's does, is left alone. A
    signal that is ignored, as under nohup, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in signals}
    stop = partial(_stop, running_loop())
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(
    outer: asyncio.AbstractEventLoop | None, number: int, frame: FrameType | None
) -> NoReturn:
    for other in (signal.SIGTERM, signal.SIGHUP):  # a second one must not break the first's work
        if isinstance(signal.getsignal(other), partial):  # which is ours
            signal.signal(other, _pass_over)
    loop = running_loop()
    if loop is not None and loop is not outer:
        # What the interrupt ends would be logged by asyncio, with a traceback, as the loop closes;
        # of what had not begun yet, Python would warn that nobody awaited it.
        loop.set_exception_handler(lambda loop, context: None)
        warnings.filterwarnings("ignore", r"coroutine .* was never awaited", RuntimeWarning)
        for task in asyncio.all_tasks(loop):
            task.cancel()
    raise KeyboardInterrupt(signal.Signals(number))


def _pass_over(number: int, frame: FrameType | None) -> None:
    """Unlike SIG_IGN, this also takes a signal that has arrived already."""


def signal_of(stopped: KeyboardInterrupt) -> signal.Signals:
    """The signal that an interrupt came from."""
    found = stopped.args[0] if stopped.args else signal.SIGINT
    return found if isinstance(found, signal.Signals) else signal.SIGINT


def resuming_place(error: BaseException) -> str | None:
    """The folder of the run that an error came out of; None if there was no run."""
    notes = getattr(error, "__notes__", ())
    places = [note.removeprefix(_RESUME) for note in notes if note.startswith(_RESUME)]
    return places[-1] if places else None


def resuming(error: BaseException, words: Sequence[str]) -> str | None:
    """The command that goes on with the run that an error came out of; None if there was no run.

    Args:
        words: of the command line, as they were typed.
    """
    place = resuming_place(error)
    if place is None:
        return None
    kept = [word for word in words if not word.lstrip("+").startswith(_RESUME)]
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    started = ["-m", spec.name] if spec is not None else sys.argv[:1]
    return shlex.join(["python", *started, *kept, f"{_RESUME}{place}"])
