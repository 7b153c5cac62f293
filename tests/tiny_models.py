"""Tiny models with random weights, and a tokenizer for one that talks."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from agents.embedded import Shape, make_model, make_tokenizer
from training.storage.checkpoint import Checkpoint

TINY = Shape(width=16, layers=1, heads=2, feed_forward=32)
"""Of a model with the embedded model's vocabulary."""


def tiny_policy(seed: int = 0) -> LlamaForCausalLM:
    """The embedded model's vocabulary behind one small layer."""
    return make_model(TINY, seed=seed)


def tiny_checkpoint(seed: int = 0) -> Checkpoint:
    """That policy with its tokenizer."""
    return Checkpoint(tiny_policy(seed), make_tokenizer(), {})


def random_llama(seed: int, **config: Any) -> LlamaForCausalLM:
    """Two layers of width 16 unless `config` says otherwise; `seed` alone decides the weights."""
    small = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**(small | config)))


def four_words(seed: int = 0, *, tied: bool = True) -> LlamaForCausalLM:
    """One layer and a vocabulary of four, of which 0 is padding and 1 the end."""
    return random_llama(
        seed,
        vocab_size=4,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
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
        intermediate_size=24,
        num_hidden_layers=1,
        num_key_value_heads=1,
        max_position_embeddings=positions,
        initializer_range=0.2,
    )
    return model.double().eval()


_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def instruct_tokenizer() -> PreTrainedTokenizerFast:
    """A chat template and one token a byte, so that no word has a token of its own."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True) for token in ("<|im_start|>", "<|im_end|>")]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")
    fast.chat_template = _TEMPLATE
    return fast


def instruct_model(seed: int = 0) -> LlamaForCausalLM:
    """An instruction model that has learned nothing, behind that tokenizer."""
    return random_llama(
        seed,
        vocab_size=len(instruct_tokenizer()),
        num_hidden_layers=1,
        max_position_embeddings=8192,
        eos_token_id=instruct_tokenizer().eos_token_id,
        bos_token_id=None,
    )


def weights(model: nn.Module) -> Tensor:
    """All weights in one row."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def gradients(model: nn.Module) -> Tensor:
    """A copy of all gradients in one row."""
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).clone()
