"""The training loop, from cloned behaviour to the last evaluated policy.

python -m training.loop +experiment=sotopia_sdpo
"""

from __future__ import annotations

from training.cli import run
from training.launch.preflight import check_before_training

if __name__ == "__main__":
    # Checks all options, and only then imports what is below.
    run("training.loop:train", check_before_training, "training.launch.forecast:training_plans_of")

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from envs.scenarios import scenario_of
from judges.pairwise import counts
from training.config import RunConfig
from training.console import Stopwatch, show_place, show_summary
from training.evaluation.held_out import held_out
from training.evaluation.summary import summarise
from training.furnish import Parts, furnish
from training.launch.memory import check_memory
from training.launch.setup import set_up
from training.learning.passes import move
from training.learning.update import UpdateReport
from training.report import write_report
from training.stage0 import clone_behaviour
from training.steps import (
    Grown,
    branch,
    collect,
    curve_point,
    held_to,
    improve,
    pair,
    sampled_tokens,
    trainer_state,
)
from training.storage.checkpoint import load_checkpoint, save_checkpoint
from training.storage.records import Example, PlayedEpisode
from training.storage.run import Run
from training.trackers import tracker
from training.waves import Progress


def train(config: RunConfig) -> Path:
    """Collect, score, branch, pair, update, publish, evaluate, checkpoint; again and again.

    Every step's result is in the store before the next begins. A run that was stopped goes on from
    the last finished piece of work and ends in the same weights.

    Returns:
        The run's folder.
    """
    set_up(config)
    watch = Stopwatch()
    check_memory(config, watch.console)
    with Run.open(asdict(config), scenario_of) as run, tracker(config, run) as track:
        show_place(watch.console, "run", run.folder)
        with watch.step("clone", "stage 0: clone the experts") as progress:
            clone = clone_behaviour(config, run, progress)
        policy = load_checkpoint(run.latest_checkpoint() or run.checkpoint_folder(0))
        move(policy.model, config.device)
        parts = furnish(config, run, clone, policy)

        if run.last_committed() == 0 and config.evaluation.curve_scenarios:
            with watch.step("curve", "the clone: evaluate") as progress:
                point = curve_point(parts, 0, progress)
            run.append_metrics({"iteration": 0, "evaluation": point})

        ahead: Played | None = None
        for iteration in run.remaining_iterations(config.iterations):
            played = ahead or play(parts, iteration, watch)
            examples = pair(parts, iteration, played.grown.groups)
            report, ahead = learn(parts, iteration, examples, watch)
            version = parts.publish()
            metrics = {
                "weights_version": version,
                "played_by": played.weights_version,
                "episodes": len(played.episodes),
                "groups": len(played.grown.groups),
                "examples": len(examples),
                "sampled_tokens": sampled_tokens(played.episodes) + played.grown.tokens,
                "preferences": counts(g.preferences for g in played.grown.groups if g.preferences),
                "update": report.numbers() if report else {},
            }
            if iteration % config.evaluation.every == 0 and config.evaluation.curve_scenarios:
                label = f"iteration {iteration} of {config.iterations}: evaluate"
                with watch.step("curve", label) as progress:
                    metrics["evaluation"] = curve_point(parts, iteration, progress)
            run.commit(
                iteration,
                metrics,
                partial(
                    save_checkpoint,
                    model=parts.model,
                    tokenizer=parts.tokenizer,
                    trainer_state=trainer_state(parts, iteration),
                    average=parts.average,
                ),
            )
            track(iteration, metrics)

        with watch.step("evaluate", "final comparison") as progress:
            iteration = run.last_committed() or 0
            summary = summarise(parts, held_out(config), iteration, watch.wall_s, progress)
        run.write_summary(summary)
        show_summary(watch.console, summary)
        show_place(watch.console, "report", write_report(run.folder))
    return run.folder


@dataclass(frozen=True, slots=True)
class Played:
    """What an iteration learns from, and the version of the weights that played it."""

    episodes: list[PlayedEpisode]
    grown: Grown
    weights_version: str


def play(parts: Parts, iteration: int, watch: Stopwatch) -> Played:
    """Self-play and branches of an iteration."""
    name = f"iteration {iteration} of {parts.config.iterations}: "
    if parts.collector is not None:
        parts.collector.turn_to(iteration)
    with watch.step("collect", name + "self-play") as progress:
        episodes = collect(parts, iteration, progress)
    with watch.step("branch", name + "branch") as progress:
        grown = branch(parts, iteration, episodes, progress)
    return Played(episodes, grown, (parts.collector or parts.engine).weights_version)


def learn(
    parts: Parts, iteration: int, examples: Sequence[Example], watch: Stopwatch
) -> tuple[UpdateReport | None, Played | None]:
    """Update the policy; where that was asked for, the next iteration is played meanwhile."""
    reference, iterations = held_to(parts), parts.config.iterations

    def update(progress: Progress) -> UpdateReport | None:
        return improve(parts, iteration, examples, progress, reference)

    if not parts.config.collect.ahead or iteration == iterations:
        with watch.step("update", f"iteration {iteration} of {iterations}: update") as progress:
            return update(progress), None
    with ThreadPoolExecutor(1) as beside:
        updating = beside.submit(watch.timed("update", update), lambda done, total: None)
        ahead = play(parts, iteration + 1, watch)
        return updating.result(), ahead
