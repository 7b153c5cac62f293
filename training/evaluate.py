"""Evaluates a policy against itself, its behaviour-cloned start and others, without training.

    python -m training.evaluate policy.name=outputs/latest/checkpoints/0007

Results go into a folder below `evaluations` in the output root, so that `latest` stays the newest
training run.
"""

from __future__ import annotations

from training.cli.help import LEARNING, HelpPage
from training.cli.run import Command, run
from training.config import RunConfig


def _work(config: RunConfig) -> None:
    from training.evaluate import evaluate_policy

    evaluate_policy(config)


def _preview(config: RunConfig) -> None:
    from training.preflight.cost import print_cost_estimate
    from training.preflight.workload import evaluation_workload

    print_cost_estimate(config, evaluation_workload)


COMMAND = Command(
    page=HelpPage(
        module="training.evaluate",
        summary="Measures a policy against itself, its clone and others, without training.",
        examples={
            "policy.name=outputs/latest/checkpoints/0007": "a checkpoint of a run",
            "policy.name=FOLDER partner=gpt4o dry_run=true": "what the calls would cost",
            "policy=api policy.model.name=NAME partner=human": "play against a model behind an API",
        },
        without=LEARNING | {"calibration", "invent"},
    ),
    work=_work,
    preview=_preview,
)

if __name__ == "__main__":
    run(COMMAND)  # checks all options before the imports below, which are slow

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from agents.base import Player
from envs.options import to_mapping
from training.builders.players import open_play, seat_policies
from training.config.play import API, BUILT_IN_POLICIES
from training.evaluation.comparison import TABLE, compare_within, write_comparison
from training.evaluation.held_out import HeldOut, evaluation_partners, held_out, with_files
from training.evaluation.summary import summarise
from training.learning.stage0 import first_model
from training.play.context import FROZEN, POLICY
from training.preflight.setup import set_up
from training.report.console import show_place, show_summary
from training.report.page import write_report
from training.report.stopwatch import Stopwatch
from training.storage.checkpoint import Checkpoint, bc_checkpoint_of, load_checkpoint
from training.storage.hub import is_on_hub
from training.storage.learned import Player as LearnedPlayer
from training.storage.learned import check_learned
from training.storage.manifest import is_checkpoint
from training.storage.run import Run

EVALUATIONS = "evaluations"


def evaluate_policy(config: RunConfig, player: Player | None = None) -> Path:
    """Play held-out scenarios against each partner, then print and store the results.

    A checkpoint of a run is compared with the run's behaviour-cloned policy, checkpoint 0000. For
    any other model there is none; `training.compare` compares any number of evaluations.

    Args:
        player: is measured in place of the model that the options name.

    Returns:
        The evaluation's folder.
    """
    is_alone = player is not None or _includes_person(config)  # nobody plays each scene thrice
    bc_folder = None if is_alone else bc_checkpoint_of(config.policy.name)
    config = resolve_options(config, has_bc=bc_folder is not None)
    if player is not None:
        config = replace(config, policy=replace(config.policy, name=player.id))
    set_up(config)
    scenarios = held_out(config)
    has_model = player is None and config.policy.name != API
    policy = _load_policy(config) if has_model else None
    bc = load_checkpoint(bc_folder) if bc_folder else None
    partners = evaluation_partners(config, has_bc=bc is not None)
    watch = Stopwatch(shows_bars=not _includes_person(config))
    with Run.open(to_mapping(config), scenarios.scenario_of) as run:
        watch.keep = run.keep_times
        show_place(watch.console, "evaluation", run.folder)
        play = open_play(config, run)
        play.partners = partners
        if player is not None:
            play.players[POLICY] = player
        if _includes_person(config):
            _announce(watch.console, scenarios, config)
        if policy is not None:
            seat_policies(play, bc or policy, policy)
        if bc is None:
            play.players.pop(FROZEN, None)
        iteration = int(policy.trainer_state.get("iteration", 0)) if policy else 0
        with watch.step("evaluate", "evaluate") as progress:
            summary = summarise(play, scenarios, iteration, watch.wall_s, progress)
        run.write_summary(summary)
        show_summary(watch.console, summary)
        write_comparison(compare_within(run.folder), run.folder)
        show_place(watch.console, "table", run.folder / TABLE)
        show_place(watch.console, "report", write_report(run.folder))
    return run.folder


def _announce(console: Console, scenarios: HeldOut, config: RunConfig) -> None:
    """Tell a person how much is to be played, and against whom."""
    games = len(scenarios.scenarios) * scenarios.episodes * (2 if scenarios.both_seats else 1)
    console.print(
        f"{games} games against {config.policy.name}, one after the other. "
        "What was played is kept; Ctrl-C stops.",
        markup=False,
    )


def resolve_options(config: RunConfig, *, has_bc: bool) -> RunConfig:
    """Fill in options that depend on each other, as they are stored with the results.

    A checkpoint gets its absolute path, because `latest` will point elsewhere. A person plays one
    episode at a time. Without bc there is no stubborn control, which is bc made less willing.

    Raises:
        ConfigError: the checkpoint was trained with another prompt style than the options name, or
            files cannot be downloaded.
    """
    if config.policy.name not in (*BUILT_IN_POLICIES, API) and not is_on_hub(config.policy.name):
        place = str(Path(config.policy.name).resolve())
        config = replace(config, policy=replace(config.policy, name=place))
        check_learned(LearnedPlayer("policy", config.policy))
    config = with_files(config)
    if _includes_person(config):
        config = replace(config, env=replace(config.env, wave=1))
    if not has_bc or config.env.has_scenes:
        config = replace(config, evaluation=replace(config.evaluation, stubborn_bias=None))
    return replace(config, output_root=str(Path(config.output_root) / EVALUATIONS))


def _includes_person(config: RunConfig) -> bool:
    return any(spec.is_person for spec in config.partner.players.values())


def _load_policy(config: RunConfig) -> Checkpoint:
    """Load and verify a checkpoint of Parley, or load any other model."""
    if is_checkpoint(Path(config.policy.name)):
        return load_checkpoint(config.policy.name)
    return Checkpoint(*first_model(config), trainer_state={})
