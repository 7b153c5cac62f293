"""A weights version names exactly these weights, in memory and on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from engines.weights import weights_version
from envs.errors import CheckpointError
from tests.tiny_models import four_words


def test_it_tells_weights_apart() -> None:
    model = four_words()
    first = weights_version(model)
    assert len(first) == 12
    assert int(first, 16) >= 0
    assert first == weights_version(four_words())
    assert first != weights_version(four_words(seed=1))
    with torch.no_grad():
        model.model.norm.weight[3] += 1e-6
    assert first != weights_version(model)
    assert weights_version(model.to(torch.bfloat16)) != weights_version(four_words())


def test_two_tensors_that_swap_their_values_make_other_weights() -> None:
    model = four_words()
    attention = model.model.layers[0].self_attn
    before = weights_version(model)
    attention.q_proj.weight.data, attention.k_proj.weight.data = (
        attention.k_proj.weight.data,
        attention.q_proj.weight.data,
    )
    assert weights_version(model) != before


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shard", ["1GB", "1KB"])
def test_a_folder_has_the_name_of_the_model_that_is_in_it(
    tmp_path: Path, tied: bool, shard: str
) -> None:
    model = four_words(tied=tied)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "1KB")
    assert weights_version(tmp_path) == weights_version(str(tmp_path)) == weights_version(model)
    assert weights_version(LlamaForCausalLM.from_pretrained(tmp_path)) == weights_version(model)


def test_a_folder_without_weights_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no \*\.safetensors file: name a checkpoint's"):
        weights_version(tmp_path)
