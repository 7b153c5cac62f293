"""The evaluation of a finished policy: against itself, its clone and others, without any training.

    python -m training.evaluate policy.name=outputs/latest/checkpoints/0007

Results go into a folder of their own in the output root's `evaluations`, so that `latest` stays
the newest run.
"""

from __future__ import annotations

from training.cli.run import run

if __name__ == "__main__":
    # Checks all options, and only then imports what is below.
    run("training.evaluate:evaluate_policy", plans="training.preflight.cost:evaluation_plans_of")

from dataclasses import replace
from pathlib import Path

from envs.errors import ConfigError
from envs.options import to_mapping
from training.build.players import open_play, seat_policies
from training.config import RunConfig
from training.config.play import API, BUILT_IN_POLICIES
from training.evaluation.comparison import TABLE, compare_within, write_comparison
from training.evaluation.held_out import held_out, with_files
from training.evaluation.summary import summarise
from training.learning.stage0 import first_model
from training.play.context import EXPERTS, FROZEN
from training.preflight.setup import set_up
from training.report.console import Stopwatch, show_place, show_summary
from training.report.page import write_report
from training.storage.checkpoint import MANIFEST, Checkpoint, clone_beside, load_checkpoint
from training.storage.hub import is_on_hub
from training.storage.run import CHECKPOINTS, CONFIG, Run, read_config

EVALUATIONS = "evaluations"


def evaluate_policy(config: RunConfig) -> None:
    """Play held-out scenarios against each partner; print and keep what came of it.

    A checkpoint that lies in a run is compared with the run's clone, checkpoint 0000. Any other
    model has no clone, and is compared with nothing here: `training.compare` puts any number of
    evaluations side by side.
    """
    clone_folder = clone_beside(config.policy.name)
    config = settled(config, has_clone=clone_folder is not None)
    set_up(config)
    scenarios = held_out(config)
    policy = None if config.policy.name == API else _load_policy(config)
    clone = load_checkpoint(clone_folder) if clone_folder else None
    partners = opponents(config, has_clone=clone is not None)
    watch = Stopwatch(shows_bars=not _meets_a_person(config))
    with Run.open(to_mapping(config), scenarios.scenario_of) as run:
        show_place(watch.console, "evaluation", run.folder)
        play = open_play(config, run)
        play.partners = partners
        if policy is not None:
            seat_policies(play, clone or policy, policy)
        if clone is None:
            play.players.pop(FROZEN, None)
        iteration = int(policy.trainer_state.get("iteration", 0)) if policy else 0
        with watch.step("evaluate", "evaluate") as progress:
            summary = summarise(play, scenarios, iteration, watch.wall_s, progress)
        run.write_summary(summary)
        show_summary(watch.console, summary)
        write_comparison(compare_within(run.folder), run.folder)
        show_place(watch.console, "table", run.folder / TABLE)
        show_place(watch.console, "report", write_report(run.folder))


def opponents(config: RunConfig, *, has_clone: bool) -> tuple[str, ...]:
    """The partners that have a weight, but for those that there cannot be.

    There is no frozen clone of a model that was not cloned here, and scripted experts do not play
    scenes in plain English.

    Raises:
        ConfigError: nobody is left.
    """
    chosen = [name for name, weight in config.partner.weights.items() if weight > 0]
    absent = {FROZEN: not has_clone, EXPERTS: config.env.has_scenes}
    left = tuple(name for name in chosen if not absent.get(name))
    if not left:
        raise ConfigError(
            f"No partner is left: of {', '.join(chosen)}, frozen_bc is the clone of a checkpoint "
            "that lies in a run, and experts play the families alone; choose partner=self, "
            "partner=gpt4o or another."
        )
    return left


def settled(config: RunConfig, *, has_clone: bool) -> RunConfig:
    """The options as they are kept: the checkpoint by its whole path, for `latest` moves on.

    A person plays one episode after the other.

    Raises:
        ConfigError: the checkpoint learned another prompt style than the one that is set, or files
            cannot be fetched.
    """
    if config.policy.name not in (*BUILT_IN_POLICIES, API) and not is_on_hub(config.policy.name):
        folder = Path(config.policy.name).resolve()
        _check_style(folder, config.policy.prompt_style)
        config = replace(config, policy=replace(config.policy, name=str(folder)))
    config = with_files(config)
    if _meets_a_person(config):
        config = replace(config, env=replace(config.env, wave=1))
    if not has_clone or config.env.has_scenes:  # the control is a clone that accepts less
        config = replace(config, evaluation=replace(config.evaluation, stubborn_bias=None))
    return replace(config, output_root=str(Path(config.output_root) / EVALUATIONS))


def _meets_a_person(config: RunConfig) -> bool:
    return any(spec.is_person for spec in config.partner.players.values())


def _check_style(folder: Path, style: str) -> None:
    file = folder.parents[1] / CONFIG
    if folder.parent.name != CHECKPOINTS or not file.is_file():
        return
    learned = read_config(file).get("policy", {}).get("prompt_style", style)
    if learned != style:
        raise ConfigError(
            f"policy.prompt_style is {style}, but {folder} learned to answer in the style "
            f"{learned}; set policy.prompt_style={learned}, and policy.max_new_tokens with it."
        )


def _load_policy(config: RunConfig) -> Checkpoint:
    """A checkpoint of ours, whole and unchanged, or any other model as it is."""
    if (Path(config.policy.name) / MANIFEST).is_file():
        return load_checkpoint(config.policy.name)
    return Checkpoint(*first_model(config), trainer_state={})
