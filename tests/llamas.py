"""Small random Llamas."""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def random_llama(seed: int, **config: Any) -> LlamaForCausalLM:
    """A model with these options; its weights depend on `seed` and on nothing else."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**config))


def four_words(seed: int = 0, *, tied: bool = True) -> LlamaForCausalLM:
    """One layer and a vocabulary of four, of which 0 is padding and 1 the end."""
    return random_llama(
        seed,
        vocab_size=4,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=tied,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )


def one_layer(seed: int, *, vocabulary: int, positions: int) -> LlamaForCausalLM:
    """In float64, with grouped-query attention, for losses and gradients."""
    model = random_llama(
        seed,
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=positions,
        initializer_range=0.2,
    )
    return model.double().eval()
