"""Programs that a command runs beside itself: what stops the command stops them, too."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import IO, Final

_STOPPED: Final = 128 + signal.SIGTERM


class Children:
    """Programs that threads of this process wait for."""

    def __init__(self) -> None:
        self._live: set[subprocess.Popen[bytes]] = set()
        self._lock = Lock()
        self._stopping = False

    def run(self, command: Sequence[str], *, output: IO[str], env: Mapping[str, str]) -> int:
        """Run a program to its end, unless all are to stop; returns its exit code.

        Args:
            output: takes what it prints, errors, too.
        """
        with self._lock:
            if self._stopping:
                return _STOPPED
            child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env)
            self._live.add(child)
        try:
            return child.wait()
        finally:
            with self._lock:
                self._live.discard(child)

    def stop(self) -> None:
        """Ask all programs to stop, and start no other; whoever waits for one goes on waiting.

        By SIGTERM, which a run that a terminal's Ctrl-C has reached already passes over.
        """
        with self._lock:
            self._stopping = True
            for child in self._live:
                child.terminate()
