"""Lets a model write new open scenes: the work of the command `python -m envs.scenarios.invent`.

Accepted scenes go into the file that the options name, one after the other; counts, and what was
dropped, into a folder below `inventions` in the output root.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape

from engines.event_loop import EventLoop
from engines.gather import together
from envs.options import to_mapping
from envs.scenarios.open_ended import scene_split
from envs.scenarios.records import EnvironmentRecord
from training.config import RunConfig
from training.play.remote import Remote
from training.play.scene_writer import Attempt, Known, SceneWriter, scenes_in
from training.preflight.invention import model_of, with_answers
from training.report.console import show_alarm, show_place
from training.report.stopwatch import Stopwatch
from training.storage.files import to_json, write_text
from training.storage.run import Run

INVENTIONS, JSON, DROPPED = "inventions", "invention.json", "dropped.jsonl"

WAVE: Final = 16
"""Attempts under way at once, at most; what they give is written in their order."""

PATIENCE: Final = 20
"""The command ends after so many attempts in a row that gave no scene."""


def invent_scenes(config: RunConfig) -> None:
    """Let a model write scenes until the file has enough of them, and print what was dropped.

    Raises:
        SystemExit: status 1 where scenes were wanted and none survived.
    """
    model, file = model_of(config), Path(config.invent.out)
    config = with_answers(config)
    config = replace(config, output_root=str(Path(config.output_root) / INVENTIONS))
    written, done = scenes_in(file), list[Attempt]()
    watch = Stopwatch()
    had = len(written)
    with Run.open(to_mapping(config)) as run:
        show_place(watch.console, "invention", run.folder)
        loop = EventLoop()
        run.on_close(loop.close)
        remote = Remote(config, run, loop)
        writer = SceneWriter(remote.chat(model), model, config.seed)

        def keep(attempt: Attempt) -> None:
            done.append(attempt)
            if attempt.scene is not None:
                written.append(attempt.scene)
                write_text(file, "".join(f"{scene.model_dump_json()}\n" for scene in written))
            else:
                with (run.folder / DROPPED).open("a", encoding="utf-8") as dropped:
                    dropped.write(f"{to_json(asdict(attempt))}\n")

        try:
            with watch.step("invent", "scenes") as progress:
                loop.run(_invent(config, writer, written, keep, progress, remote))
        finally:  # also when the budget is spent
            calls = remote.totals()
            counts = Counter(each.dropped for each in done if each.dropped is not None)
            result = {"scenes": len(written), "accepted": len(written) - had, "dropped": counts}
            write_text(run.folder / JSON, to_json({**result, "calls": calls.as_dict()}, indent=2))
            _show(watch.console, file, written, done, had)
            watch.console.print(f"models behind APIs: {calls.describe()}")
    if len(written) == had < config.invent.count:
        last = f"; the last attempt: {done[-1].dropped} ({done[-1].said})" if done else ""
        show_alarm(
            watch.console,
            f"No scene survived{last}. Choose a stronger model, or another seed for other topics.",
        )
        raise SystemExit(1)


async def _invent(
    config: RunConfig,
    writer: SceneWriter,
    written: list[EnvironmentRecord],
    keep: Callable[[Attempt], None],
    progress: Callable[[int, int], None],
    remote: Remote,
) -> None:
    """Make attempts in waves until there are enough scenes, or it is in vain."""
    wanted, limit = config.invent.count, config.invent.count * config.invent.tries
    known, number, in_vain = Known(written), writer.first(written), 0
    while (left := wanted - len(written)) > 0 and number < limit and in_vain < PATIENCE:
        progress(len(written), wanted)
        size = min(left, WAVE, config.api.concurrency, limit - number)
        with remote.watched():
            attempts = await together(writer.attempt(number + n, known) for n in range(size))
        for attempt in attempts:
            if attempt.scene is not None and (dropped := known.like(attempt.scene)) is not None:
                attempt = replace(attempt, scene=None, dropped=dropped)  # like one of its own wave
            keep(attempt)
            in_vain += 1
            if attempt.scene is not None:
                known.add(attempt.scene)
                in_vain = 0
        number += size
    progress(len(written), wanted)


def _show(
    console: Console,
    file: Path,
    written: list[EnvironmentRecord],
    done: list[Attempt],
    had: int,
) -> None:
    splits = Counter(map(scene_split, written))
    shares = ", ".join(f"{splits[split]} {split}" for split in ("train", "dev", "test"))
    console.print(
        f"{len(written) - had} scenes in {len(done)} attempts; {escape(str(file))} has "
        f"{len(written)} ({shares}), for env=open env.path={escape(str(file))}",
        soft_wrap=True,
    )
    for reason, count in Counter(each.dropped for each in done if each.dropped).most_common():
        console.print(f"dropped {count}: {reason}")
