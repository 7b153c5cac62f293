"""Times the steps of a run and shows their progress: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:  # imports torch, which not every command needs
    from training.play.waves import Progress as Report

P = ParamSpec("P")
T = TypeVar("T")

SECONDS_BETWEEN_LINES = 30.0
"""Where no terminal shows a bar, such as in a file, a step writes a line so often."""

SECONDS_WITHOUT_NEWS = 60.0
"""A step that has nothing to tell for so long writes that it goes on."""


class Stopwatch:
    """Shows the progress of each step and adds up the seconds that steps take, by name.

    Args:
        shows_bars: False if a person plays on the same terminal.
        clock: the time in seconds, from any start.

    Attributes:
        wall_s: seconds by name.
        keep: called with them after each step.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        shows_bars: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console or Console()
        self._shows_bars, self._clock = shows_bars, clock
        self.wall_s: dict[str, float] = {}
        self.keep: Callable[[Mapping[str, float]], None] | None = None

    @contextmanager
    def step(self, name: str, label: str) -> Iterator[Report]:
        """Time a step under `name`; yields a function that the step calls with (done, total)."""
        started = self._clock()
        try:
            with self._shown(label, started) as report:
                yield report
        finally:  # a step that was stopped took its time, too
            self._add(name, started)
            if self.keep is not None:
                self.keep(self.wall_s)

    @contextmanager
    def _shown(self, label: str, started: float) -> Iterator[Report]:
        if self._shows_bars and not self.console.is_terminal:
            with self._lines(label, started) as report:
                yield report
            self.console.print(f"{label}: done in {duration(self._clock() - started)}")
            return
        columns = (
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=self.console, disable=not self._shows_bars) as bars:
            bar = bars.add_task(label, total=None)
            yield lambda done, total: bars.update(bar, completed=done, total=total)
            if bars.tasks[0].total is None:  # nothing had to be done
                bars.update(bar, completed=0, total=0)

    @contextmanager
    def _lines(self, label: str, started: float) -> Iterator[Report]:
        """A function that writes how far a step is, now and then; without news, that it goes on."""
        written, ended = started, threading.Event()

        def report(done: int, total: int) -> None:
            nonlocal written
            now = self._clock()
            if now - written < SECONDS_BETWEEN_LINES or not 0 < done < total:
                return
            written = now
            left = (now - started) * (total - done) / done
            self.console.print(
                f"{label}: {done} of {total} in {duration(now - started)}, about "
                f"{duration(left)} left"
            )

        def go_on() -> None:
            nonlocal written
            while not ended.wait(SECONDS_WITHOUT_NEWS / 4):
                now = self._clock()
                if now - written >= SECONDS_WITHOUT_NEWS:
                    written = now
                    self.console.print(f"{label}: under way for {duration(now - started)}")

        heart = threading.Thread(target=go_on, name=f"progress of {label}", daemon=True)
        heart.start()
        try:
            yield report
        finally:
            ended.set()
            heart.join()

    def since(self, before: Mapping[str, float]) -> dict[str, float]:
        """Seconds by name since `wall_s` was as `before`."""
        return {name: spent - before.get(name, 0.0) for name, spent in self.wall_s.items()}

    def timed(self, name: str, work: Callable[P, T]) -> Callable[P, T]:
        """Wrap a function so that its time is added to `name`, without a progress bar."""

        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            started = self._clock()
            done = work(*args, **kwargs)
            self._add(name, started)
            return done

        return run

    def _add(self, name: str, started: float) -> None:
        self.wall_s[name] = self.wall_s.get(name, 0.0) + self._clock() - started


def duration(seconds: float) -> str:
    """A duration for a reader: "42 s", "3 min 5 s", "1 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
