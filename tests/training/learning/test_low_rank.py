"""Low-rank training: only small changes learn, and end as part of a whole model."""

from __future__ import annotations

import copy
import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import LlamaForCausalLM

from tests.tiny_models import random_llama
from training.config import LoraConfig, UpdateConfig
from training.learning.low_rank import low_rank
from training.learning.reference import reference_pass
from training.learning.update import update
from training.methods.objectives import make_objective
from training.methods.records import BranchTokens, Example

OBJECTIVE = make_objective("sdpo", beta=0.3)
CONFIG = UpdateConfig(learning_rate=1e-2, batch_examples=2, epochs=2)
RANK = LoraConfig(rank=2, alpha=4)


@pytest.fixture
def model() -> LlamaForCausalLM:
    return random_llama(
        3,
        vocab_size=19,
        intermediate_size=24,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    ).eval()


def examples() -> list[Example]:
    rng = random.Random(5)

    def branch(win_prob: float) -> BranchTokens:
        return BranchTokens(tuple(rng.choices(range(19), k=4)), (True,) * 4, win_prob)

    def trunk() -> tuple[int, ...]:
        return tuple(rng.choices(range(19), k=6))

    return [Example(f"g{n}", trunk(), (branch(1.0), branch(0.0))) for n in range(4)]


def logits(model: LlamaForCausalLM) -> Tensor:
    with torch.no_grad():
        return model(torch.arange(19)[None]).logits


def learn(model: LlamaForCausalLM, lora: LoraConfig, seed: int = 0) -> dict[str, Tensor]:
    """Update in place; how much each weight changed."""
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    reference = reference_pass(model, examples())
    with low_rank(model, lora, seed=seed):
        update(model, reference, examples(), objective=OBJECTIVE, config=CONFIG, seed=1)
    return {name: w.detach() - before[name] for name, w in model.named_parameters()}


def test_each_layer_changes_by_a_matrix_of_that_rank(model: LlamaForCausalLM) -> None:
    changes = learn(model, RANK)
    for name, change in changes.items():
        if "_proj" in name:
            sizes = torch.linalg.svdvals(change.double())
            assert sizes[0] > 1e-4, f"{name} learned"
            assert sizes[2] < 1e-5 * sizes[0], f"{name} changed by more than {RANK.rank} ranks"
        else:
            assert not change.any(), f"{name} is no linear layer between the embeddings"


def test_the_first_change_is_none_and_the_last_one_stays(model: LlamaForCausalLM) -> None:
    before = logits(model)
    with low_rank(model, RANK, seed=0):
        assert torch.equal(logits(model), before), "the policy starts as its reference"
        learning = [p for p in model.parameters() if p.requires_grad]
        assert sum(p.numel() for p in learning) < 0.3 * model.num_parameters()
        with torch.no_grad():
            for parameter in learning:
                parameter.add_(0.05)
        inside = logits(model)
    assert not torch.allclose(inside, before, atol=1e-3)
    assert_close(logits(model), inside, atol=1e-5, rtol=1e-5)


def test_it_leaves_a_plain_model_behind(model: LlamaForCausalLM) -> None:
    names = list(model.state_dict())
    modules = [type(module) for module in model.modules()]
    model.model.norm.weight.requires_grad_(False)
    with pytest.raises(ArithmeticError), low_rank(model, RANK, seed=0):
        raise ArithmeticError  # an update that fails keeps the steps that it made
    assert list(model.state_dict()) == names
    assert [type(module) for module in model.modules()] == modules
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["model.norm.weight"]


def test_the_seed_decides(model: LlamaForCausalLM) -> None:
    state = torch.random.get_rng_state()
    changes = [learn(copy.deepcopy(model), RANK, seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.random.get_rng_state(), state), "the process keeps its random state"
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(changes[0][name], changes[1][name])
    assert not torch.allclose(changes[0][name], changes[2][name])


def test_without_a_rank_all_weights_learn(model: LlamaForCausalLM) -> None:
    with low_rank(model, replace(RANK, rank=None), seed=0) as factor:
        assert factor == 1.0
        assert all(parameter.requires_grad for parameter in model.parameters())
    changes = learn(model, LoraConfig())
    assert all(change.any() for change in changes.values())
