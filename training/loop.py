"""The training loop: behaviour cloning, then iterations of self-play and updates, then evaluation.

python -m training.loop +experiment=sotopia_sdpo
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.cli.help import HelpPage
from training.cli.run import Command, run
from training.config import RunConfig
from training.preflight.checks import check_before_training


def _work(config: RunConfig) -> Path:
    from training.loop import train

    return train(config)


def _preview(config: RunConfig) -> None:
    from training.preflight.cost import print_cost_estimate
    from training.preflight.workload import training_workload

    print_cost_estimate(config, training_workload, trains=True)


def _after_sweep(folders: Sequence[Path]) -> None:
    from training.report.method_tables import show_methods

    show_methods(folders)


COMMAND = Command(
    page=HelpPage(
        module="training.loop",
        summary="Trains a policy by self-play, then compares it with its clone.",
        examples={
            "+experiment=sotopia_sdpo": "segment-level DPO of the small model, in minutes",
            "+experiment=sotopia_sdpo scale=smoke": "every step once, in about a minute",
            "+experiment=sotopia_sdpo scale=gpu policy.name=FOLDER": "a model of yours",
            "+experiment=sotopia_sdpo resume=outputs/latest": "go on with a run that was stopped",
            "--multirun +experiment=sotopia_sdpo,sotopia_dpo seed=0,1,2": "compare methods",
        },
        without=frozenset({"calibration", "invent"}),
    ),
    work=_work,
    check=check_before_training,
    preview=_preview,
    after_sweep=_after_sweep,
    needs_words=True,
)

if __name__ == "__main__":
    run(COMMAND)  # checks all options, and only then imports what is below

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

from envs.options import to_mapping
from judges.pairwise import counts
from training.builders.loggers import logger_of
from training.builders.players import open_talk
from training.builders.trainer import Trainer, build_trainer
from training.evaluation.alarms import iteration_alarms, play_numbers
from training.evaluation.episodes import curve_point
from training.evaluation.held_out import held_out, with_files
from training.evaluation.summary import summarise
from training.learning.examples import pair
from training.learning.learner import reference_model, update_policy
from training.learning.passes import move
from training.learning.stage0 import clone_behaviour
from training.learning.update import UpdateReport
from training.methods.records import Example, PlayedEpisode
from training.play.branch import Branches, branch
from training.play.collect import collect, constraint_nats, sampled_tokens
from training.play.waves import Progress
from training.preflight.memory import check_memory
from training.preflight.setup import set_up
from training.report.console import show_alarm, show_iteration, show_place, show_summary
from training.report.page import write_report
from training.report.stopwatch import Stopwatch
from training.storage.checkpoint import load_checkpoint, save_checkpoint
from training.storage.learned import learned_with
from training.storage.run import Run


def train(config: RunConfig) -> Path:
    """Collect, score, branch, pair, update, publish, evaluate, checkpoint; again and again.

    Every step's result is in the store before the next begins. A run that was stopped goes on from
    the last finished piece of work and ends in the same weights.

    Returns:
        The run's folder.
    """
    set_up(config)
    config = with_files(config)
    watch = Stopwatch()
    check_memory(config, watch.console)
    with (
        Run.open(to_mapping(config), config.env.scenario_of) as run,
        logger_of(config, run.folder) as track,
    ):
        watch.keep = run.keep_times
        show_place(watch.console, "run", run.folder)
        with watch.step("clone", f"stage 0: clone {config.demonstrations.name}") as progress:
            seat, tell = partial(open_talk, config, run), partial(show_alarm, watch.console)
            bc = clone_behaviour(config, run, progress, seat, tell)
        if demonstrated := bc.trainer_state.get("demonstrations"):
            watch.console.print(demonstrated["told"], soft_wrap=True, markup=False)
            if alarm := demonstrated.get("alarm"):
                show_alarm(watch.console, alarm)
        policy = load_checkpoint(run.latest_checkpoint() or run.checkpoint_folder(0))
        move(policy.model, config.device)
        trainer = build_trainer(config, run, bc, policy)
        learner = trainer.learner

        if run.last_committed() == 0 and config.evaluation.curve_scenarios:
            with watch.step("curve", "the clone: evaluate") as progress:
                point = curve_point(trainer.play, 0, progress)
            run.append_metrics({"iteration": 0, "evaluation": point})

        ahead: Played | None = None
        for iteration in run.remaining_iterations(config.iterations):
            before = dict(watch.wall_s)
            played = ahead or play(trainer, iteration, watch)
            groups = played.branches.groups
            budget = config.update.token_budget
            examples = pair(run.store, iteration, groups, trainer.pairing, trainer.value, budget)
            report, ahead = learn(trainer, iteration, examples, watch)
            version = learner.publish()
            metrics: dict[str, Any] = {
                "weights_version": version,
                "played_by": played.weights_version,
                "episodes": len(played.episodes),
                "groups": len(groups),
                "examples": len(examples),
                "sampled_tokens": sampled_tokens(played.episodes) + played.branches.tokens,
                **constraint_nats(played.episodes),
                **play_numbers(played.episodes),
                "preferences": counts(g.preferences for g in groups if g.preferences),
                "update": report.numbers() if report else {},
            }
            record = metrics | {"iteration": iteration}
            alarms = iteration_alarms(record, played.episodes, groups, run.metrics())
            for alarm in alarms.values():
                show_alarm(watch.console, alarm)
            metrics |= {"alarms": alarms} if alarms else {}
            if config.evaluation.has_point(iteration, config.iterations):
                label = f"iteration {iteration} of {config.iterations}: evaluate"
                with watch.step("curve", label) as progress:
                    metrics["evaluation"] = curve_point(trainer.play, iteration, progress)
            run.commit(
                iteration,
                metrics,
                partial(
                    save_checkpoint,
                    model=learner.model,
                    tokenizer=learner.tokenizer,
                    trainer_state=learner.trainer_state(iteration),
                    average=learner.average,
                    learned=learned_with(config.policy),
                ),
            )
            track(iteration, metrics)
            show_iteration(watch.console, record, config.iterations, watch.since(before))

        with watch.step("evaluate", "final comparison") as progress:
            iteration = run.last_committed() or 0
            summary = summarise(trainer.play, held_out(config), iteration, watch.wall_s, progress)
        if demonstrated:
            summary |= {"demonstrations": demonstrated}
            summary["notes"] += [f"ALARM: {alarm}"] if (alarm := demonstrated.get("alarm")) else []
        run.write_summary(summary)
        show_summary(watch.console, summary)
        show_place(watch.console, "report", write_report(run.folder))
    return run.folder


@dataclass(frozen=True, slots=True)
class Played:
    """The data of an iteration, and the version of the weights that played it."""

    episodes: list[PlayedEpisode]
    branches: Branches
    weights_version: str


def play(trainer: Trainer, iteration: int, watch: Stopwatch) -> Played:
    """Play the episodes and branches of an iteration."""
    name = f"iteration {iteration} of {trainer.play.config.iterations}: "
    context = trainer.play
    if context.collector is not None:
        context.collector.turn_to(iteration)
    with watch.step("collect", name + "self-play") as progress:
        episodes = collect(context, iteration, progress)
    with watch.step("branch", name + "branch") as progress:
        branches = branch(context, trainer.branching, iteration, episodes, progress)
    player = context.collector or trainer.learner.engine
    return Played(episodes, branches, player.weights_version)


def learn(
    trainer: Trainer, iteration: int, examples: Sequence[Example], watch: Stopwatch
) -> tuple[UpdateReport | None, Played | None]:
    """Update the policy; with `collect.ahead`, play the next iteration meanwhile."""
    context, learner = trainer.play, trainer.learner
    iterations = context.config.iterations
    reference = reference_model(learner, context.collector)

    def update(progress: Progress) -> UpdateReport | None:
        return update_policy(learner, iteration, examples, progress, reference)

    if not context.config.collect.ahead or iteration == iterations:
        with watch.step("update", f"iteration {iteration} of {iterations}: update") as progress:
            return update(progress), None
    stopped = Event()

    def go_on(done: int, total: int) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as beside:
        updating = beside.submit(watch.timed("update", update), go_on)
        try:
            ahead = play(trainer, iteration + 1, watch)
        except BaseException:  # nobody needs the update: it ends before its next step
            stopped.set()
            raise
        return updating.result(), ahead
