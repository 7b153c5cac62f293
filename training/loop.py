"""The training loop, from cloned behaviour to the last evaluated policy.

python -m training.loop +experiment=sotopia_sdpo
"""

from __future__ import annotations

from training.cli import run
from training.preflight import check_before_training

if __name__ == "__main__":
    # Checks all options, and only then imports what is below.
    run("training.loop:train", check_before_training, "training.forecast:training_plans_of")

from dataclasses import asdict
from functools import partial
from pathlib import Path

from envs.scenarios import scenario_of
from judges.pairwise import counts
from training.checkpoint import load_checkpoint, save_checkpoint
from training.config import RunConfig
from training.console import Stopwatch, show_place, show_summary
from training.furnish import furnish
from training.held_out import held_out
from training.report import write_report
from training.run import Run
from training.setup import set_up
from training.stage0 import clone_behaviour
from training.steps import (
    branch,
    collect,
    curve_point,
    improve,
    pair,
    sampled_tokens,
    trainer_state,
)
from training.summary import summarise
from training.trackers import tracker


def train(config: RunConfig) -> Path:
    """Collect, score, branch, pair, update, publish, evaluate, checkpoint; again and again.

    Every step's result is in the store before the next begins. A run that was stopped goes on from
    the last finished piece of work and ends in the same weights.

    Returns:
        The run's folder.
    """
    set_up(config)
    watch = Stopwatch()
    with Run.open(asdict(config), scenario_of) as run, tracker(config, run) as track:
        show_place(watch.console, "run", run.folder)
        with watch.step("clone", "stage 0: clone the experts") as progress:
            clone = clone_behaviour(config, run, progress)
        policy = load_checkpoint(run.latest_checkpoint() or run.checkpoint_folder(0))
        parts = furnish(config, run, clone, policy)

        if run.last_committed() == 0 and config.evaluation.curve_scenarios:
            with watch.step("curve", "the clone: evaluate") as progress:
                point = curve_point(parts, 0, progress)
            run.append_metrics({"iteration": 0, "evaluation": point})

        for iteration in run.remaining_iterations(config.iterations):
            name = f"iteration {iteration} of {config.iterations}: "
            if parts.collector is not None:
                parts.collector.turn_to(iteration)
            with watch.step("collect", name + "self-play") as progress:
                episodes = collect(parts, iteration, progress)
            with watch.step("branch", name + "branch") as progress:
                grown = branch(parts, iteration, episodes, progress)
            examples = pair(parts, iteration, grown.groups)
            with watch.step("update", name + "update") as progress:
                report = improve(parts, iteration, examples, progress)
            version = parts.publish()
            metrics = {
                "weights_version": version,
                "episodes": len(episodes),
                "groups": len(grown.groups),
                "examples": len(examples),
                "sampled_tokens": sampled_tokens(episodes) + grown.tokens,
                "preferences": counts(g.preferences for g in grown.groups if g.preferences),
                "update": report.numbers() if report else {},
            }
            if iteration % config.evaluation.every == 0 and config.evaluation.curve_scenarios:
                with watch.step("curve", name + "evaluate") as progress:
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
