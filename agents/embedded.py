"""The embedded policy: a Llama of some hundred thousand parameters that speaks the line language.

A plain Hugging Face folder like any other policy: config, safetensors, a word-level tokenizer and a
chat template. Its vocabulary is the line language of our own families, one token a word, numbers
bound to what they count ("book=2"), so that so small a model can read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from envs.scenarios import camp, division, match, plans, price

BASE_FOLDER = Path(__file__).parent / "embedded_base"
"""The shipped model: see the card in that folder for how it was made."""

PAD, UNKNOWN, END, ME, THEM = "<pad>", "<unk>", "<eos>", "<me>", "<them>"
_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] }}"
    "{% elif message['role'] == 'user' %} <them> {{ message['content'] }} <eos>"
    "{% else %} <me> {{ message['content'] }} <eos>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %} <me>{% endif %}"
)
_WORDS = (
    "<think> </think> say gesture do leave none offer accept reject you me i want need no like "
    "hate know somebody at that is too much little worth buy sell keep division price camp match "
    "plans reads nods smiles"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of an embedded policy."""

    width: int = 96
    layers: int = 3
    heads: int = 4
    feed_forward: int = 288
    positions: int = 512


def vocabulary() -> list[str]:
    """All words of the line language, in a fixed order."""
    words = [PAD, UNKNOWN, END, ME, THEM, *_WORDS.split()]
    for item in (*division.ITEMS, *camp.ITEMS):
        words += [item, *(f"{item}={n}" for n in range(5)), *(f"{item}*{n}" for n in range(11))]
    for option in plans.OPTIONS:
        words += [option, *(f"{option}:{n}" for n in range(11))]
    words += [*match.PEOPLE, *match.PLACES]
    words += [f"{name}={n}" for name in ("price", "limit") for n in range(1, price.HIGHEST + 1)]
    words += [f"aim={n}" for n in range(61)]
    words += [f"left={n}" for n in range(1, 31)]
    words += [str(n) for n in range(-20, 61)]
    return list(dict.fromkeys(words))


def make_tokenizer() -> PreTrainedTokenizerFast:
    """The word-level tokenizer of the line language, with its chat template."""
    table = {word: index for index, word in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(table, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, unk_token=UNKNOWN, eos_token=END
    )
    fast.chat_template = _TEMPLATE
    return fast


def model_config(shape: Shape) -> LlamaConfig:
    """The architecture of the small model."""
    return LlamaConfig(
        vocab_size=len(vocabulary()),
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


def make_model(shape: Shape, *, seed: int) -> LlamaForCausalLM:
    """A freshly initialised model; the same shape and seed give the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(model_config(shape))
