"""The learner: the weights under training, the objective and the reference model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engines.types import LoadedEngine
from training.config import RunConfig
from training.learning.low_rank import low_rank
from training.learning.reference import reference_pass
from training.learning.references import move_average
from training.learning.update import UpdateReport, steps_of, update
from training.methods.objectives.base import Objective, Stateful
from training.methods.objectives.types import State
from training.methods.records import Example
from training.play.collector import Collector
from training.play.engines import Engines
from training.play.rollout import episode_seed
from training.play.waves import Progress


@dataclass(slots=True, kw_only=True)
class Learner:
    """The policy under training and everything that its update needs.

    Attributes:
        model: the weights under training; `engine` has a copy of its own, written by `publish`.
        bc: the behaviour-cloned weights after stage 0, which never change.
        engines: all engines of the run, which sleep while the trainer needs a GPU's memory.
        objective_state: what the objective has carried over from the updates so far.
        average: the moving average that the policy is held to; None where it is held to another.
    """

    config: RunConfig
    model: PreTrainedModel
    bc: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    engine: LoadedEngine
    engines: Engines
    objective: Objective | Stateful
    objective_state: State = field(default_factory=dict)
    average: PreTrainedModel | None = None

    def publish(self) -> str:
        """Give the engine the trainer's weights and wake all engines; returns their version."""
        version = self.engine.publish(self.model)
        self.engines.wake()
        return version

    def trainer_state(self, iteration: int) -> dict[str, object]:
        """What a checkpoint keeps beside the weights, so that a resumed run ends in the same."""
        state = dict(self.objective_state)
        return {"iteration": iteration} | ({"objective": state} if state else {})


def reference_model(learner: Learner, collector: Collector | None) -> PreTrainedModel:
    """The model that the policy is held to, by the reference schedule, in the next update."""
    schedule = learner.config.reference.schedule
    if schedule == "bc":
        return learner.bc
    if schedule == "collected" and collector is not None:
        return collector.model
    return learner.average or learner.model


def update_policy(
    learner: Learner,
    iteration: int,
    examples: Sequence[Example],
    progress: Progress,
    reference: PreTrainedModel,
) -> UpdateReport | None:
    """Update the policy in place; engines sleep until `publish`, unless others play meanwhile.

    Args:
        reference: the model that the policy is held to, from `reference_model`.

    Returns:
        None, and the policy as it was, when there is nothing to learn from.
    """
    config = learner.config
    if not config.collect.ahead:
        learner.engines.sleep()
    report = _update(learner, iteration, examples, progress, reference) if examples else None
    if learner.average is not None:
        move_average(learner.average, learner.model, config.reference.decay or 0.0)
    return report


def _update(
    learner: Learner,
    iteration: int,
    examples: Sequence[Example],
    progress: Progress,
    reference: PreTrainedModel,
) -> UpdateReport:
    config = learner.config
    measured = reference_pass(
        reference,
        examples,
        token_budget=config.update.token_budget,
        measures=config.objective.spec.measures,
        anchor=learner.bc,
        precision=config.update.precision,
        device=learner.model.device,
    )
    steps = steps_of(len(examples), config.update)
    seed = episode_seed(config.seed, "update", iteration)
    with low_rank(learner.model, config.lora, seed=seed) as factor:
        rate = config.update.learning_rate * factor
        report = update(
            learner.model,
            measured,
            examples,
            objective=learner.objective,
            config=replace(config.update, learning_rate=rate),
            seed=seed,
            on_step=lambda report: progress(report.step + 1, steps),
            state=learner.objective_state,
        )
    learner.objective_state = report.state
    return report
