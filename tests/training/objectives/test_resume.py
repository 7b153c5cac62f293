"""From options to an update of a run's policy, and on from its checkpoint after a stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from agents.embedded import Shape, make_model, make_tokenizer
from tests.training.objectives.test_measured import EXAMPLES
from training.cli import compose
from training.furnish import Parts, furnish
from training.objectives import OBJECTIVES
from training.steps import held_to, improve, trainer_state
from training.storage.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.storage.run import Run

SHAPE = Shape(width=16, layers=1, heads=2, feed_forward=32)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run.create(tmp_path, {}) as opened:
        yield opened


def parts(run: Run, name: str, policy: Checkpoint) -> Parts:
    # the clone is not the first policy, so that an anchor and a reference differ
    clone = Checkpoint(make_model(SHAPE, seed=2), make_tokenizer(), {})
    words = [f"objective={name}", "update.batch_examples=2", "update.learning_rate=1e-3"]
    return furnish(compose(words), run, clone, policy)


def first() -> Checkpoint:
    return Checkpoint(make_model(SHAPE, seed=1), make_tokenizer(), {})


def weights(model: PreTrainedModel) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def learn(made: Parts, iteration: int) -> None:
    assert improve(made, iteration, EXAMPLES, lambda *_: None, held_to(made))


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_a_run_learns_by_it_and_goes_on_as_if_it_had_not_stopped(
    name: str, run: Run, tmp_path: Path
) -> None:
    straight = parts(run, name, first())
    before = weights(straight.model)
    learn(straight, 1)
    assert not torch.equal(weights(straight.model), before)
    folder = save_checkpoint(
        tmp_path / "0001", straight.model, straight.tokenizer, trainer_state(straight, 1)
    )
    learn(straight, 2)

    resumed = parts(run, name, load_checkpoint(folder))
    learn(resumed, 2)
    assert torch.equal(weights(resumed.model), weights(straight.model))
    assert trainer_state(resumed, 2) == trainer_state(straight, 2)


def test_a_checkpoint_says_what_the_objective_carries(run: Run) -> None:
    made = parts(run, "bco", first())
    learn(made, 1)
    state = trainer_state(made, 1)
    assert state == {"iteration": 1, "objective": made.objective_state}
    assert set(made.objective_state) == {"delta"}
    plain = parts(run, "sdpo", first())
    learn(plain, 1)
    assert trainer_state(plain, 1) == {"iteration": 1}
