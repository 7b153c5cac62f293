"""Wider heads change nothing but the shape: log-probs are those of the model as it was."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, LlamaConfig, LlamaForCausalLM

from engines.vllm_heads import head_size, widened_config, widened_weights
from envs.errors import EngineError
from tests.tiny_models import random_llama

SIZES = (32, 64)


def model_with_heads(size: int, key_value_heads: int = 2) -> LlamaForCausalLM:
    model = random_llama(
        size,
        vocab_size=40,
        hidden_size=4 * size,
        intermediate_size=16,
        num_attention_heads=4,
        num_key_value_heads=key_value_heads,
        head_dim=size,
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    return model.eval()


@pytest.mark.parametrize(("size", "wide"), [(24, 32), (8, 32), (48, 64)])
@pytest.mark.parametrize("key_value_heads", [4, 2, 1])
def test_log_probs_stay(size: int, wide: int, key_value_heads: int) -> None:
    model = model_with_heads(size, key_value_heads).double()
    config = widened_config(model.config, SIZES)
    assert head_size(config) == wide
    twin = LlamaForCausalLM(config).double().eval()
    # Everything has a place, and nothing is left over.
    twin.load_state_dict(dict(widened_weights(model.state_dict().items(), size, wide)))
    ids = torch.arange(100).remainder(40).unsqueeze(0)
    with torch.no_grad():
        mine, theirs = (m(ids).logits.log_softmax(-1) for m in (model, twin))
    # Rotary angles are reckoned in single precision, whatever the model's.
    torch.testing.assert_close(theirs, mine, rtol=0, atol=5e-4)
    assert mine.std() > 1, "a model that says the same of all tokens would show nothing"


def test_known_sizes_are_left_alone() -> None:
    model = model_with_heads(32)
    assert widened_config(model.config, SIZES) is model.config
    named = dict(model.state_dict())
    kept = dict(widened_weights(named.items(), 32, 32))
    assert all(kept[name] is tensor for name, tensor in named.items())


def test_what_cannot_be_widened_is_said() -> None:
    with pytest.raises(EngineError, match="size 96, but vLLM on this machine has 32, 64 only"):
        widened_config(LlamaConfig(hidden_size=192, num_attention_heads=2), SIZES)
    with pytest.raises(EngineError, match="heads of a gpt2"):
        widened_config(GPT2Config(n_embd=48, n_head=2), SIZES)
    scaled = LlamaConfig(
        hidden_size=48,
        num_attention_heads=2,
        rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
    )
    with pytest.raises(EngineError, match="choose engine=local"):
        widened_config(scaled, SIZES)
