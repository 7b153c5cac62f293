"""From options to an update of a run's policy, and on from its checkpoint after a stop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tiny_models import tiny_checkpoint, weights
from tests.training.methods.objectives.test_measured import EXAMPLES
from training.builders.trainer import build_trainer
from training.cli.compose import compose
from training.learning.learner import Learner, reference_model, update_policy
from training.methods.objectives import OBJECTIVES
from training.storage.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.storage.run import Run


def learner(run: Run, name: str, policy: Checkpoint) -> Learner:
    # the clone is not the first policy, so that an anchor and a reference differ
    clone = tiny_checkpoint(2)
    words = [f"objective={name}", "update.batch_examples=2", "update.learning_rate=1e-3"]
    return build_trainer(compose(words), run, clone, policy).learner


def first() -> Checkpoint:
    return tiny_checkpoint(1)


def learn(made: Learner, iteration: int) -> None:
    assert update_policy(made, iteration, EXAMPLES, lambda *_: None, reference_model(made, None))


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_a_run_learns_by_it_and_goes_on_as_if_it_had_not_stopped(
    name: str, run: Run, tmp_path: Path
) -> None:
    straight = learner(run, name, first())
    before = weights(straight.model)
    learn(straight, 1)
    assert not torch.equal(weights(straight.model), before)
    folder = save_checkpoint(
        tmp_path / "0001", straight.model, straight.tokenizer, straight.trainer_state(1)
    )
    learn(straight, 2)

    resumed = learner(run, name, load_checkpoint(folder))
    learn(resumed, 2)
    assert torch.equal(weights(resumed.model), weights(straight.model))
    assert resumed.trainer_state(2) == straight.trainer_state(2)


def test_a_checkpoint_says_what_the_objective_carries(run: Run) -> None:
    made = learner(run, "bco", first())
    learn(made, 1)
    state = made.trainer_state(1)
    assert state == {"iteration": 1, "objective": made.objective_state}
    assert set(made.objective_state) == {"delta"}
    plain = learner(run, "sdpo", first())
    learn(plain, 1)
    assert plain.trainer_state(1) == {"iteration": 1}
