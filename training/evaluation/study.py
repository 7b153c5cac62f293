"""The comparison of methods: every run that it takes, their records, and the page made of these.

Each method is trained with several seeds, all with as many sampled tokens and update steps. The
record of a run is written to docs/results/NAME/ when it ends, and the page is made from records
alone, so that both grow over interruptions: what has a record is not run again, and a run that was
stopped goes on. `--page` makes the page without running anything.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from envs.errors import DataError
from training.evaluation.method_table import compare_methods, grouped, markdown, mean_gain, picture
from training.evaluation.trials import Trial, read_run, read_trial, write_trial
from training.storage.files import read_json, write_text
from training.storage.run import LATEST, SUMMARY, TRAINED

RESULTS, PAGE, WORK = Path("docs/results"), Path("docs/results.md"), Path("outputs/study")
COMMITS = "commits.txt"

EQUAL = (
    *("branch.tokens=40000", "branch.points=2000", "update.steps=8"),
    *("evaluation.stubborn_bias=null", "evaluation.curve_scenarios=0"),
)
"""What makes an iteration of each method equally long; and no evaluation that no record keeps."""

SMOKE = (
    *("scale=smoke", "collect.episodes=24", "branch.tokens=600", "branch.points=24"),
    *("branch.continuations=2", "update.steps=2", "evaluation.curve_scenarios=0"),
    "evaluation.stubborn_bias=null",
)
"""Options that show in seconds that a run goes through."""


@dataclass(frozen=True, slots=True)
class Study:
    """Methods that are compared with each other.

    Attributes:
        experiments: without the "sotopia_" of their files; the first one is led over.
        published: goal and relationship in self-play in the paper, where it has the method
            (arXiv 2501.01821, tables 1, 4 and 5; Llama-3.1-8B, one seed).
        variants: options with which each experiment is run, by what is put behind its name.
        words: options of all runs of this study.
        seeds: at most so many.
    """

    title: str
    experiments: tuple[str, ...]
    published: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    seeds: int | None = None

    def methods(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Experiment and options of each method, by the method's name."""
        if not self.variants:
            return {name: (name, self.words) for name in self.experiments}
        return {
            (name := f"{experiment}-{variant}"): (experiment, (*self.words, *words, f"name={name}"))
            for experiment in self.experiments
            for variant, words in self.variants.items()
        }


STUDIES: dict[str, Study] = {
    "methods": Study(
        "Methods",
        (
            *("sdpo", "bc", "preferred_sft", "dpo", "eto", "dmpo", "sppo", "sppo_session"),
            *("simpo", "step_dpo", "kto", "ipo", "orpo"),
        ),
        {
            "sdpo": (8.56, 3.69),
            "bc": (7.81, 3.05),
            "preferred_sft": (7.76, 3.05),
            "dpo": (7.95, 3.28),
            "eto": (8.29, 3.39),
            "dmpo": (8.28, 3.37),
        },
    ),
    "segments": Study(
        "How long segments are",
        (
            *("segments_critic", "segments_1_1", "segments_3_3", "segments_5_5", "segments_1_3"),
            *("segments_3_1", "segments_3_5", "segments_5_3", "segments_session"),
        ),
        {
            "segments_critic": (8.56, 3.69),
            "segments_1_1": (7.95, 3.28),
            "segments_3_3": (8.40, 3.64),
            "segments_5_5": (8.34, 3.60),
            "segments_1_3": (7.77, 3.08),
            "segments_3_5": (8.07, 3.16),
            "segments_session": (8.19, 3.34),
        },
    ),
    "source": Study(
        "Whose positives",
        ("source_policy", "source_experts"),
        {"source_policy": (8.56, 3.69), "source_experts": (8.11, 3.35)},
    ),
    "steps": Study(
        "Step sizes",
        (
            *("sdpo", "preferred_sft", "dpo", "eto", "dmpo", "sppo", "sppo_session"),
            *("simpo", "step_dpo", "kto", "ipo", "orpo"),
        ),
        variants={rate: (f"update.learning_rate={rate}",) for rate in ("2.5e-4", "5e-4")},
        words=("evaluation.split=dev", "evaluation.scenarios=256"),
        seeds=3,
    ),
}

MOST_DEALS_LOST = 0.02
"""Of two step sizes that one is better with which more is gained, unless it loses more deals."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a study.

    Attributes:
        record: the file that is written when it ends.
        place: the output root that it has to itself.
    """

    experiment: str
    seed: int
    words: tuple[str, ...]
    record: Path
    place: Path

    @property
    def command(self) -> list[str]:
        """The words of the command, from `python` on, without where its outputs go."""
        experiment = f"+experiment=sotopia_{self.experiment}"
        return ["-m", "training.loop", experiment, *self.words, f"seed={self.seed}", "threads=1"]


def jobs_of(
    names: Sequence[str],
    seeds: int,
    words: tuple[str, ...],
    results: Path,
    work: Path,
    only: Sequence[str] = (),
) -> Iterator[Job]:
    """All runs of these studies, or of some experiments; a seed of each before the next seed."""
    for name in names:
        study = STUDIES[name]
        for seed in range(min(seeds, study.seeds or seeds)):
            for method, (experiment, own) in study.methods().items():
                if only and experiment not in only:
                    continue
                run = f"{method}-seed{seed}"
                record = results / name / f"{run}.json"
                yield Job(experiment, seed, (*words, *own), record, work / run)


def perform(job: Job, console: Console) -> bool:
    """Run what has no record yet, or go on with it; whether there is a record now."""
    if job.record.is_file():
        return True
    job.place.mkdir(parents=True, exist_ok=True)
    _share_clones(job.place)
    _note_commit(job.place)
    latest = job.place / LATEST
    if not (latest / SUMMARY).is_file():
        resume = [f"resume={latest.resolve()}"] if latest.exists() else []
        console.print(f"{'resume' if resume else 'start'} {job.place.name}")
        with (job.place / "log.txt").open("a", encoding="utf-8") as log:
            done = subprocess.run(
                [sys.executable, *job.command, f"output_root={job.place}", *resume],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                check=False,
            )
        if done.returncode:
            console.print(f"{job.place.name} [red]ended with {done.returncode}[/red]: {log.name}")
            return False
    write_trial(read_run(latest.resolve()), job.record, provenance=_provenance(job))
    console.print(f"recorded {job.record}")
    return True


def _provenance(job: Job) -> dict[str, Any]:
    return {
        "command": shlex.join(["python", *job.command]),
        "commits": (job.place / COMMITS).read_text(encoding="utf-8").split(),
        "summary": read_json(job.place / LATEST / SUMMARY),
    }


def _share_clones(place: Path) -> None:
    """Clones depend on the seed and not on the method, so that all runs keep them in one place."""
    shared, link = place.parent / "cache", place / "cache"
    shared.mkdir(exist_ok=True)
    if not link.exists():
        link.symlink_to(shared.resolve(), target_is_directory=True)


def _note_commit(place: Path) -> None:
    """Remember from which commit the run was started, or gone on with."""
    file = place / COMMITS
    known = file.read_text(encoding="utf-8").split() if file.is_file() else []
    if (now := commit()) not in known:
        write_text(file, "\n".join([*known, now]) + "\n")


def commit() -> str:
    """The commit of the code, with "+changes" where files of it, documents apart, are others."""
    head = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    return f"{head}+changes" if changed else head


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def page(names: Sequence[str], results: Path) -> str:
    """The page, from the records that are there; pictures are written beside them."""
    parts = [_HEAD]
    for name in names:
        files = sorted((results / name).glob("*.json"))
        if files:
            parts.append(_section(name, [read_trial(file) for file in files], results))
    return "\n".join(parts)


def _section(name: str, trials: Sequence[Trial], results: Path) -> str:
    study = STUDIES[name]
    methods = list(study.methods())
    ordered = sorted(trials, key=lambda trial: methods.index(_known(trial, methods)))
    there = len({trial.method for trial in trials})
    lines = [f"## {study.title}", ""]
    if there < len(methods):
        lines += [f"{there} of {len(methods)} methods have been run so far.", ""]
    if study.variants:
        lines += [_by_variant(study, ordered), ""]
    else:
        comparison = compare_methods(grouped(ordered))
        write_text(results / f"{name}.svg", picture(comparison))
        lines += [f"![Goal of each method minus its clone, by partner](results/{name}.svg)", ""]
        lines += [markdown(comparison), _beside_the_paper(study, comparison)]
    reading = results / f"{name}.reading.md"
    if reading.is_file():
        lines += [reading.read_text(encoding="utf-8")]
    return "\n".join([*lines, "Each run:", "", *_commands(name, results), ""])


def _known(trial: Trial, methods: Sequence[str]) -> str:
    if trial.method not in methods:
        raise DataError(
            f"There is a record of {trial.method}, which is no method of this study; its methods "
            f"are {', '.join(methods)}."
        )
    return trial.method


def _by_variant(study: Study, trials: Sequence[Trial]) -> str:
    """A row an experiment and a column a variant; the best of each row is bold."""
    lines = [
        "Goal over the clone, mean over all partners, and deals won or lost in self-play; dev "
        "split, one seed where no more are told. Bold: what gains most and loses at most "
        f"{MOST_DEALS_LOST} of the deals.",
        "",
        f"| experiment | {' | '.join(study.variants)} |",
        "|---" * (len(study.variants) + 1) + "|",
    ]
    for experiment in study.experiments:
        gains = gains_of(study, experiment, trials)
        best = best_variant(gains)
        cells = []
        for variant in study.variants:
            cell = "-"
            if variant in gains:
                goal, deals = gains[variant]
                seeds = sum(trial.method == f"{experiment}-{variant}" for trial in trials)
                cell = f"{goal:+.2f} ({deals:+.3f}{f'; {seeds} seeds' if seeds > 1 else ''})"
            cells.append(f"**{cell}**" if variant == best else cell)
        lines.append(f"| {experiment} | {' | '.join(cells)} |")
    return "\n".join(lines)


def gains_of(
    study: Study, experiment: str, trials: Sequence[Trial]
) -> dict[str, tuple[float, float]]:
    """What each variant that was run gains over the clone.

    Returns:
        By variant, the goal as a mean over partners, and the deal rate in self-play.
    """
    gains = {}
    for variant in study.variants:
        own = [trial for trial in trials if trial.method == f"{experiment}-{variant}"]
        if own:
            goals = [mean_gain(own, partner, "goal") for partner in own[0].values[TRAINED]]
            gains[variant] = (sum(goals) / len(goals), mean_gain(own, "self", "deal_rate"))
    return gains


def best_variant(gains: Mapping[str, tuple[float, float]]) -> str | None:
    """What gains most of those that lose few deals; what loses fewest where all lose more."""
    if not gains:
        return None
    few = {name: goal for name, (goal, deals) in gains.items() if deals >= -MOST_DEALS_LOST}
    return max(few, key=few.__getitem__) if few else max(gains, key=lambda name: gains[name][1])


def _beside_the_paper(study: Study, comparison: Mapping[str, Any]) -> str:
    """Goal and relationship in self-play here and in the paper, whose world is another one."""
    own = comparison["partners"].get("self", {})
    lines = [
        "### Beside the paper",
        "",
        "Goal and relationship in self-play; the paper's are of Llama-3.1-8B on SOTOPIA, judged by "
        "GPT-4o, one seed, no intervals. Levels cannot be compared, orders can.",
        "",
        "| method | paper | here |",
        "|---|---|---|",
    ]
    for name in study.experiments:
        if name in own:
            goal, warmth = (own[name][m]["value"]["mean"] for m in ("goal", "relationship"))
            theirs = "/".join(f"{x:.2f}" for x in study.published.get(name, ())) or "-"
            lines.append(f"| {name} | {theirs} | {goal:.2f}/{warmth:.2f} |")
    return "\n".join([*lines, ""])


def _commands(name: str, results: Path) -> Iterator[str]:
    for file in sorted((results / name).glob("*.json")):
        record = read_json(file)
        commits = ", ".join(_short(name) for name in record["commits"])
        yield f"* `{record['command']}` ({commits}; {record['wall_s'] / 60:.0f} minutes)"


def _short(name: str) -> str:
    return name[:10] + "".join(name.partition("+")[1:])


_HEAD = f"""\
# Results

Made by `make results` (`python -m training.study`), which goes on where it was stopped; this page
is written from the records in [results/](results/) alone, by `python -m training.study --page`.

Every method starts from the same clone of the same seed, and plays, branches and learns online for
seven iterations of 256 episodes, with the options of its file and `{" ".join(EQUAL)}`:
branches of an iteration end when models have sampled that many tokens, and an update makes that
many steps. What each was really given stands behind the tables. All is measured on 512 scenarios of
the test split a partner.
"""
