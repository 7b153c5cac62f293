"""Measures how good a judge is: the work of the command `python -m judges.calibrate`.

Results go into a folder below `calibrations` in the output root.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from engines.event_loop import EventLoop
from envs.options import to_mapping
from judges.calibration.run import calibrate
from judges.calibration.tables import as_json, markdown, show
from training.builders.judges import judge_of
from training.config import RunConfig, models
from training.evaluation.calibration_sources import calibration_sources
from training.play.remote import Remote, resources
from training.report.console import show_place
from training.report.stopwatch import Stopwatch
from training.storage.files import to_json, write_text
from training.storage.run import Run

CALIBRATIONS, JSON, PAGE = "calibrations", "calibration.json", "calibration.md"


def calibrate_judge(config: RunConfig) -> None:
    """Let a judge score labelled episodes, then print and store how well it agrees with them."""
    config = replace(config, output_root=str(Path(config.output_root) / CALIBRATIONS))
    watch = Stopwatch()
    sources = calibration_sources(config)
    with Run.open(to_mapping(config)) as run:
        show_place(watch.console, "calibration", run.folder)
        loop = EventLoop()
        run.on_close(loop.close)
        remote = Remote(config, run, loop) if models(config) else None
        judge, reseeded = (
            judge_of(config.judge, resources(remote, seed=seed))
            for seed in (config.seed, config.seed + 1)
        )
        watched = remote.watched() if remote else nullcontext()
        with watch.step("judge", "judge") as progress, watched:
            calibration = loop.run(
                calibrate(
                    judge,
                    sources,
                    reseeded=reseeded,
                    sees_task=config.judge.spec.sees_task,
                    seed=config.seed,
                    n_rejudged=config.calibration.twice,
                    with_canaries=config.calibration.canaries,
                    progress=progress,
                )
            )
        write_text(run.folder / JSON, to_json(as_json(calibration), indent=2) + "\n")
        write_text(run.folder / PAGE, markdown(calibration))
        show(watch.console, calibration)
        if remote is not None:
            watch.console.print(f"models behind APIs: {remote.totals().describe()}")
