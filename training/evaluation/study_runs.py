"""Runs a study: trains every method with every seed, and writes a record of each run.

A record is written to docs/results/STUDY/ when its run ends. A run that has a record is not
repeated, and one that was stopped is resumed, so a study may be interrupted at any time.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from training.evaluation.children import Children
from training.evaluation.study import Study
from training.evaluation.trials import read_run, write_trial
from training.storage.files import write_text
from training.storage.run_files import LATEST, SUMMARY, read_result

COMMITS = "commits.txt"


@dataclass(frozen=True, slots=True)
class Job:
    """One training run of a study.

    Attributes:
        options: KEY=VALUE words, without the experiment, the seed and the threads.
        record: the file that is written when the run ends.
        output_root: the folder for the run's output; no other run uses it.
        threads: CPU threads of the run.
    """

    experiment: str
    seed: int
    options: tuple[str, ...]
    record: Path
    output_root: Path
    threads: int = 1

    @property
    def command(self) -> list[str]:
        """The arguments of `python`, without the output root."""
        experiment = f"+experiment=sotopia_{self.experiment}"
        given = (*self.options, f"seed={self.seed}", f"threads={self.threads}")
        return ["-m", "training.loop", experiment, *given]


def jobs_of(
    studies: Mapping[str, Study],
    seeds: int,
    options: tuple[str, ...],
    results: Path,
    work: Path,
    only: Sequence[str] = (),
    threads: int = 1,
) -> Iterator[Job]:
    """List all runs of some studies; every method gets a seed before any gets the next one.

    Args:
        options: options of every run.
        results: the folder for records.
        work: the folder for the runs' output.
        only: experiments to run; empty for all.
        threads: CPU threads of each run.
    """
    for study_name, study in studies.items():
        for seed in range(min(seeds, study.seeds or seeds)):
            for method, (experiment, own) in study.methods().items():
                if only and experiment not in only:
                    continue
                name = f"{method}-seed{seed}"
                record = results / study_name / f"{name}.json"
                root = work / name
                yield Job(experiment, seed, (*options, *own), record, root, threads)


def perform(
    job: Job,
    console: Console,
    more: Callable[[Path], Mapping[str, Any]] | None = None,
    children: Children | None = None,
) -> bool:
    """Start or resume a run, unless it has a record.

    Args:
        more: further fields of the record, from the folder of the finished run.
        children: runs the program of the run, so that it can be stopped.

    Returns:
        Whether there is a record now.
    """
    if job.record.is_file():
        return True
    job.output_root.mkdir(parents=True, exist_ok=True)
    _share_cache(job.output_root)
    _note_commit(job.output_root)
    latest = job.output_root / LATEST
    if not (latest / SUMMARY).is_file():
        resume = [f"resume={latest.resolve()}"] if latest.exists() else []
        console.print(f"{'resume' if resume else 'start'} {job.output_root.name}")
        with (job.output_root / "log.txt").open("a", encoding="utf-8") as log:
            exit_code = (children or Children()).run(
                [sys.executable, *job.command, f"output_root={job.output_root}", *resume],
                output=log,
                env={**os.environ, "OMP_NUM_THREADS": str(job.threads)},
            )
        if exit_code:
            console.print(f"{job.output_root.name} [red]ended with {exit_code}[/red]: {log.name}")
            return False
    run = latest.resolve()
    provenance = _provenance(job) | dict(more(run) if more else {})
    write_trial(read_run(run), job.record, provenance=provenance)
    console.print(f"recorded {job.record}")
    return True


def _provenance(job: Job) -> dict[str, Any]:
    return {
        "command": shlex.join(["python", *job.command]),
        "commits": (job.output_root / COMMITS).read_text(encoding="utf-8").split(),
        "summary": read_result(job.output_root / LATEST, SUMMARY),
    }


def _share_cache(output_root: Path) -> None:
    """Let all runs share one cache of bc, which depends on the seed but not on the method."""
    shared, link = output_root.parent / "cache", output_root / "cache"
    shared.mkdir(exist_ok=True)
    if not link.exists():
        link.symlink_to(shared.resolve(), target_is_directory=True)


def _note_commit(output_root: Path) -> None:
    """Add the current commit to those that the run was started or resumed from."""
    file = output_root / COMMITS
    known = file.read_text(encoding="utf-8").split() if file.is_file() else []
    if (now := commit()) not in known:
        write_text(file, "\n".join([*known, now]) + "\n")


def commit() -> str:
    """The commit of the code; ends in "+changes" if files outside docs/ differ from it."""
    head = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    return f"{head}+changes" if changed else head


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
