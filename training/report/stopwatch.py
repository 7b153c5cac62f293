"""Times the steps of a run and shows their progress on the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:  # imports torch, which not every command needs
    from training.play.waves import Progress as Report

P = ParamSpec("P")
T = TypeVar("T")


class Stopwatch:
    """Shows a progress bar for each step and adds up the seconds that steps take, by name.

    Args:
        shows_bars: False if a person plays on the same terminal.
    """

    def __init__(self, console: Console | None = None, *, shows_bars: bool = True) -> None:
        self.console = console or Console()
        self._shows_bars = shows_bars
        self.wall_s: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, label: str) -> Iterator[Report]:
        """Time a step under `name`; yields a function that the step calls with (done, total)."""
        started = time.monotonic()
        columns = (
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, disable=not self._shows_bars) as bars:
            bar = bars.add_task(label, total=None)
            yield lambda done, total: bars.update(bar, completed=done, total=total)
            if bars.tasks[0].total is None:  # nothing had to be done
                bars.update(bar, completed=0, total=0)
        self._add(name, started)

    def timed(self, name: str, work: Callable[P, T]) -> Callable[P, T]:
        """Wrap a function so that its time is added to `name`, without a progress bar."""

        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            started = time.monotonic()
            done = work(*args, **kwargs)
            self._add(name, started)
            return done

        return run

    def _add(self, name: str, started: float) -> None:
        self.wall_s[name] = self.wall_s.get(name, 0.0) + time.monotonic() - started
