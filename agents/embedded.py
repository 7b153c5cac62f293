"""The embedded policy: a Llama of some hundred thousand parameters that speaks the line language.

It is a plain Hugging Face folder like any other policy: config, safetensors, a word-level tokenizer
and a chat template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from agents.vocabulary import END, PAD, UNKNOWN, vocabulary

BASE_FOLDER = Path(__file__).parent / "embedded_base"
"""The shipped model: see the card in that folder for how it was made."""

_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] }}"
    "{% elif message['role'] == 'user' %} <them> {{ message['content'] }} <eos>"
    "{% else %} <me> {{ message['content'] }} <eos>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %} <me>{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of an embedded policy."""

    width: int = 96
    layers: int = 3
    heads: int = 4
    feed_forward: int = 288
    positions: int = 512


def make_tokenizer(extra_words: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """The word-level tokenizer of the line language, with its chat template."""
    table = {word: index for index, word in enumerate(vocabulary(extra_words))}
    tokenizer = Tokenizer(models.WordLevel(table, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, unk_token=UNKNOWN, eos_token=END
    )
    fast.chat_template = _TEMPLATE
    return fast


def model_config(shape: Shape, extra_words: Sequence[str] = ()) -> LlamaConfig:
    """The architecture of the small model."""
    return LlamaConfig(
        vocab_size=len(vocabulary(extra_words)),
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.positions,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=2,
    )


def make_model(shape: Shape, *, seed: int, extra_words: Sequence[str] = ()) -> LlamaForCausalLM:
    """A freshly initialised model; the same shape and seed give the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(model_config(shape, extra_words))
