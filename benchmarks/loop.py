"""Where the time of an iteration of the embedded loop goes, from a real run with timers around it.

    python benchmarks/loop.py [--iterations 2] [KEY=VALUE ...]

The options are those of training.loop. Every second of collecting, branching, pairing, updating,
publishing and committing is booked once, on the innermost thing that had a timer; stage 0 and
evaluation are left out. Seconds are of CPU, which other processes disturb less; on an idle machine
with one thread they are those of the clock. What is not generating, judging or updating should
stay below 5 %.
"""

from __future__ import annotations

import functools
import gc
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from inspect import iscoroutinefunction
from tempfile import TemporaryDirectory
from typing import Any

import torch
from common import SHORT_RUN, machine, parser, table
from rich.console import Console

import training.loop
from agents.policy import _SeatedModel
from agents.scripted import Bargainer
from engines.local import LocalEngine
from envs.social import SocialState
from judges.critics.measured import ValueCritic
from judges.critics.unmeasured import RandomCritic
from judges.verifiable import VerifiableJudge
from training.cli.compose import compose
from training.learning.learner import Learner
from training.storage.run import Run
from training.storage.store import Store

GENERATING, JUDGING, UPDATING = "generating", "judging", "updating"
PLAYING, KEEPING, REST, GARBAGE = "words and turns", "store", "rest", "garbage collection"


class Timers:
    """A stack of labels; time goes to the one on top."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._stack: list[str] = []
        self._since_s = 0.0

    @contextmanager
    def book(self, label: str, *, outermost: bool = False) -> Iterator[None]:
        """Book what happens inside; nothing is booked outside of an outermost one."""
        if not self._stack and not outermost:
            yield
            return
        self._turn()
        self._stack.append(label)
        try:
            yield
        finally:
            self._turn()
            self._stack.pop()

    def _turn(self) -> None:
        now_s = time.process_time()
        if self._stack:
            self.seconds[self._stack[-1]] += now_s - self._since_s
        self._since_s = now_s

    def around(self, place: Any, name: str, label: str, *, outermost: bool = False) -> None:
        """Put a timer around a function of a class or module, asynchronous or not."""
        function = getattr(place, name)

        @functools.wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            with self.book(label, outermost=outermost):
                return function(*args, **options)

        @functools.wraps(function)
        async def timed_pieces(*args: Any, **options: Any) -> Any:
            return await _Pieces(function(*args, **options), functools.partial(self.book, label))

        setattr(place, name, timed_pieces if iscoroutinefunction(function) else timed)

    def on_garbage(self, phase: str, _info: dict[str, int]) -> None:
        """For `gc.callbacks`."""
        if not self._stack:
            return
        self._turn()
        if phase == "start":
            self._stack.append(GARBAGE)
        elif self._stack[-1] == GARBAGE:
            self._stack.pop()


class _Pieces:
    """A coroutine whose time is booked while it runs, and not while it waits."""

    def __init__(self, coroutine: Any, book: Callable[[], Any]) -> None:
        self._coroutine, self._book = coroutine, book

    def __await__(self) -> Generator[Any, Any, Any]:
        resume: Callable[[], Any] = functools.partial(self._coroutine.send, None)
        while True:
            try:
                with self._book():
                    waits_for = resume()
            except StopIteration as done:
                return done.value
            try:
                resume = functools.partial(self._coroutine.send, (yield waits_for))
            except BaseException as error:
                resume = functools.partial(self._coroutine.throw, error)


def put_timers() -> Timers:
    """Timers around the rooms of the loop."""
    timers = Timers()
    for name in ("collect", "branch", "pair"):
        timers.around(training.loop, name, REST, outermost=True)
    timers.around(training.loop, "update_policy", UPDATING, outermost=True)
    timers.around(Learner, "publish", UPDATING, outermost=True)
    timers.around(Run, "commit", KEEPING, outermost=True)
    timers.around(LocalEngine, "_flush", GENERATING)
    timers.around(VerifiableJudge, "judge", JUDGING)
    for critic in (ValueCritic, RandomCritic):
        timers.around(critic, "locate", JUDGING)
        timers.around(critic, "select", JUDGING)
    for agent in (_SeatedModel, Bargainer):
        timers.around(agent, "act", PLAYING)
    for name in ("step", "observe", "episode"):
        timers.around(SocialState, name, PLAYING)
    _around_waves(timers)
    gc.callbacks.append(timers.on_garbage)
    return timers


def _around_waves(timers: Timers) -> None:
    wave = Store.wave

    @contextmanager
    def timed(*args: Any) -> Iterator[Any]:
        with timers.book(KEEPING), wave(*args) as opened:
            yield opened

    Store.wave = timed  # type: ignore[method-assign]


def main() -> None:
    """Run and print a table."""
    arguments = parser(__doc__)
    arguments.add_argument("--iterations", type=int, default=2)
    arguments.add_argument("options", nargs="*", metavar="KEY=VALUE")
    given = arguments.parse_args()
    note = machine("torch", threads=torch.get_num_threads())
    with TemporaryDirectory() as folder:
        config = compose(
            [
                *(f"output_root={folder}", f"iterations={given.iterations}", "threads=1"),
                *(*SHORT_RUN, *given.options),
            ]
        )
        timers = put_timers()
        training.loop.train(config)
    total_s = sum(timers.seconds.values())
    title = f"CPU time of {given.iterations} iterations: {total_s:.1f} s"
    shown = table("", "s", "share", title=title, caption=note)
    for label, seconds in timers.seconds.most_common():
        shown.add_row(label, f"{seconds:.2f}", f"{seconds / total_s:.1%}")
    other_s = total_s - sum(timers.seconds[name] for name in (GENERATING, JUDGING, UPDATING))
    shown.add_section()
    shown.add_row("everything else", f"{other_s:.2f}", f"{other_s / total_s:.1%}")
    Console().print(shown)


if __name__ == "__main__":
    main()
