"""Training that says, in the journal of a simulated power loss, what it was told is on disk.

python -m tests.marked_training OPTION=VALUE ...
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from itertools import count
from pathlib import Path
from typing import Any

import training.learning.under_way
from tests.power_loss import mark
from training.cli.compose import compose
from training.learning import stage0
from training.learning.under_way import UnderWay
from training.loop import train
from training.storage.run import Run
from training.storage.store import Store, Wave


def marked(of: Any, name: str, text: Callable[..., str]) -> None:
    """Let a function mark that it has returned; `text` is given its arguments."""
    function = getattr(of, name)

    @wraps(function)
    def marks(*args: Any, **options: Any) -> Any:
        result = function(*args, **options)
        mark(text(*args, **options))
        return result

    setattr(of, name, marks)


def mark_waves() -> None:
    """Let each transaction of the store mark that it is committed."""
    wave = Store.wave

    @contextmanager
    def marks(*place: Any) -> Iterator[Wave]:
        with wave(*place) as transaction:
            yield transaction
        mark(" ".join(map(str, ("wave", *place[1:]))))

    Store.wave = marks  # type: ignore[assignment, method-assign]


def main() -> None:
    """Train with the options of the command line; stage 0 keeps its state every ten steps."""
    training.learning.under_way.SECONDS_BETWEEN_SAVES = 10.0
    every_call = partial(UnderWay, clock=count().__next__)
    setattr(stage0, "UnderWay", every_call)  # noqa: B010
    mark_waves()
    marked(Store, "set_step", lambda store, iteration, name, payload: f"step {name} {iteration}")
    marked(Run, "_become_latest", lambda run: f"run {run.folder.name}")
    marked(Run, "commit", lambda run, iteration, *rest: f"iteration {iteration}")
    marked(Run, "write_measures", lambda run, *rest: "file measures.json")
    marked(Run, "write_summary", lambda run, *rest: "file summary.json")
    marked(stage0, "_keep", lambda cache, *rest: f"clone {Path(cache).name}")
    train(compose(sys.argv[1:]))


if __name__ == "__main__":
    main()
