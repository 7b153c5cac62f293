"""A model whose updates would learn from other numbers than its own is refused, by measurement."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.testing import assert_close
from transformers import PretrainedConfig

from envs.errors import TrainingError
from tests.architectures import (
    gemma2,
    gemma3,
    gemma3_with_vision,
    gpt2,
    granite,
    llama,
    mistral,
    qwen35,
    random_model,
)
from training.config import UpdateConfig
from training.learning.probe import check_trainable
from training.learning.reference import reference_logps
from training.learning.update import update
from training.methods.objectives import make_objective
from training.methods.records import BranchTokens, Example

BUDGET = 256


@pytest.mark.parametrize(
    "config",
    [
        llama(),
        mistral(None),
        mistral(BUDGET),
        gemma3(BUDGET),
        gemma3_with_vision(BUDGET),
        granite(1.0),
        gpt2(),
    ],
    ids=lambda config: type(config).__name__,
)
def test_models_that_are_right_are_accepted(config: PretrainedConfig) -> None:
    model = random_model(config).train()
    before = copy.deepcopy(model.state_dict())
    check_trainable(model, BUDGET)
    assert model.training
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name])


@pytest.mark.filterwarnings("ignore")  # kernels that are not installed
@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (mistral(64), "where branches share a row"),
        (gemma3(64), "update.token_budget=256"),
        (gemma3_with_vision(64), "as with attention that is limited to a window"),
        (qwen35(), "or with recurrent layers"),
        (gemma2(), "it caps or scales its logits"),
        (granite(8.0), "it caps or scales its logits"),
        # a cap is hardly felt where logits are small, and will be when they have grown
        (gemma2(initializer_range=1e-3), "it caps or scales its logits"),
    ],
)
def test_models_that_would_be_wrong_are_refused(config: PretrainedConfig, sentence: str) -> None:
    with pytest.raises(TrainingError) as caught:
        check_trainable(random_model(config), BUDGET)
    assert sentence in str(caught.value)


def test_a_model_that_cannot_run_packed_rows_has_a_sentence() -> None:
    model = random_model(llama())

    def refuse(*args: object, **options: object) -> None:
        raise TypeError("forward() got an unexpected keyword argument 'position_ids'")

    model.get_decoder().layers[0].register_forward_pre_hook(refuse)
    with pytest.raises(TrainingError, match=r"fails on the packed rows .*TypeError: forward"):
        check_trainable(model, BUDGET)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_policy_with_dropout_starts_from_its_reference(checkpointing: bool) -> None:
    model = random_model(gpt2(dropout=0.5)).train()
    better, worse = BranchTokens((5, 6), (True,) * 2, 1.0), BranchTokens((7,), (True,), 0.0)
    given = [Example("pair", (1, 2, 3), (better, worse))]
    config = UpdateConfig(
        learning_rate=1e-3, epochs=1, batch_examples=1, checkpointing=checkpointing
    )
    report = update(
        model,
        reference_logps(model, given),
        given,
        objective=make_objective("dpo", beta=0.1),
        config=config,
        seed=0,
    )
    assert_close(report.metrics["margin"], 0.0, rtol=0, atol=1e-6)
    assert model.training
