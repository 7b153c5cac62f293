"""Times pieces of work in turns, in this process or in worker processes.

Standard library only, because interpreters without Parley's packages import this module too.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")
Job = dict[str, Any]
"""What a worker is to do, as JSON."""
Took = dict[str, Any]
"""What one piece of work took: `wall_s`, `cpu_s`, `peak_mb` (beside idle), and what it adds."""


def in_turns(runners: Mapping[str, Callable[[], T]], repeats: int) -> dict[str, list[T]]:
    """Run each runner once to warm it up, then all in turns; return what each repeat gave."""
    for run in runners.values():
        run()
    took: dict[str, list[T]] = {name: [] for name in runners}
    for _ in range(repeats):
        for name, run in runners.items():
            took[name].append(run())
    return took


def ask_in_turns(workers: Mapping[str, Worker], repeats: int) -> dict[str, list[Took]]:
    """Have workers work in turns, as `in_turns` does, and end them."""
    with ExitStack() as stack:
        for worker in workers.values():
            stack.callback(worker.close)
        return in_turns({name: worker.ask for name, worker in workers.items()}, repeats)


class WorkerEnded(SystemExit):
    """A worker ended without an answer; this ends the benchmark too where nobody catches it."""


class Worker:
    """A process that reads its job as the first line, then works once for each line."""

    def __init__(self, name: str, command: list[str], job: Job, **variables: str) -> None:
        self._name = name
        self._log = TemporaryFile("w+")  # noqa: SIM115 - open as long as the process
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **variables},
        )
        self._say(json.dumps(job))

    def ask(self) -> Took:
        """Have it work once, and return what that took.

        Raises:
            WorkerEnded: with the end of what the process wrote to stderr.
        """
        self._say("go")
        assert self._process.stdout is not None
        line = next((line for line in self._process.stdout if line.startswith('{"')), None)
        if line is None:
            self._log.seek(0)
            raise WorkerEnded(f"The worker {self._name!r} broke off:\n{self._log.read()[-3000:]}")
        took: Took = json.loads(line)
        return took

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it ended; `ask` will find no answer
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()


class Watch:
    """The worker's side: it waits for requests and answers each with what the work took.

    Attributes:
        told: what the worker adds to its answers.
    """

    def __init__(self) -> None:
        self.told: Took = {}
        self._idle_mb = _memory_mb("VmRSS")
        self._start_s: float | None = None
        self._start_cpu_s = 0.0

    def next(self) -> None:
        """Answer the request before, if any, and wait for the next; exit when none comes."""
        if self._start_s is not None:
            wall_s = time.perf_counter() - self._start_s
            cpu_s = time.process_time() - self._start_cpu_s
            peak_mb, idle_mb = _memory_mb("VmHWM"), self._idle_mb
            more_mb = peak_mb - idle_mb if peak_mb and idle_mb else None
            took = {"wall_s": wall_s, "cpu_s": cpu_s, "peak_mb": more_mb, **self.told}
            print(json.dumps(took), flush=True)
        if not sys.stdin.readline():
            sys.exit()
        _forget_peak()
        self._start_s, self._start_cpu_s = time.perf_counter(), time.process_time()


def serve(work: Callable[[], Took]) -> NoReturn:
    """Work once for each request; `work` returns what to add to the answer."""
    watch = Watch()
    while True:
        watch.next()
        watch.told = work()


def _memory_mb(name: str) -> float | None:
    """A size of this process, where /proc tells it: MB now (VmRSS) or at most (VmHWM)."""
    status = Path("/proc/self/status")
    found = re.search(rf"{name}:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else None


def _forget_peak() -> None:
    place = Path("/proc/self/clear_refs")
    if place.exists():
        place.write_text("5")
