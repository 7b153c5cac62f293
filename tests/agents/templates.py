"""Chat templates that write what those of well-known models write, and tokenizers for them.

They are worded here; where TRL is installed, test_chat_templates.py also runs the models' own.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

REFUSES_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
)
ALTERNATE = (
    "{% for m in turns %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT_SYSTEM = (  # SmolLM2's and Qwen2.5's way
    "{% if messages[0].role != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
) + CHATML
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>'"
    " }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
DATED = (  # Llama 3.2's way: the day is written into each prompt
    "{{ bos_token + '<|start_header_id|>system<|end_header_id|>\n\n' }}"
    "{{ 'Cutting Knowledge Date: December 2023\nToday Date: ' + strftime_now('%d %b %Y') }}"
    "{% set has = messages[0].role == 'system' %}"
    "{{ '\n\n' + (messages[0].content if has else '') + '<|eot_id|>' }}"
    "{% set messages = messages[1:] if has else messages %}"
) + LLAMA3.removeprefix("{{ bos_token }}")
MISTRAL = (  # the system text goes with the first user message, which has to be there
    "{% if messages[0].role == 'system' %}{% set lead = messages[0].content + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set lead = '' %}{% set turns = messages %}"
    "{% endif %}" + ALTERNATE + "{{ bos_token }}{% for m in turns %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + (lead if loop.first else '') + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}"
    + REFUSES_SYSTEM
    + "{% set turns = messages %}"
    + ALTERNATE
    + "{% for m in messages %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}"
    "{{ m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
QWEN3 = (  # earlier replies lose their reasoning, the last one is given an empty one
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% set said = m.content.split('</think>')[-1].lstrip('\n') %}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ said + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
ALWAYS_THINKS = CHATML.replace("assistant\n", "assistant\n<think>\n")  # as DeepSeek-R1 does


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of chat template with the control tokens of its tokenizer.

    Attributes:
        own: the file of the models' own template in TRL's package; None if it has none.
        spaces: whether the tokenizer puts a space before each text, as sentencepiece does.
        end: what ends a turn.
    """

    template: str
    control: tuple[str, ...]
    end: str
    bos: str | None = None
    eos: str | None = None
    own: str | None = None
    spaces: bool = False


_IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_HEADERS = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>")
_LLAMA = {"bos": "<|begin_of_text|>", "eos": "<|end_of_text|>", "end": "<|eot_id|>"}
FAMILIES = {
    "chatml": Family(CHATML, _IM, "<|im_end|>", eos="<|endoftext|>"),
    "default_system": Family(DEFAULT_SYSTEM, _IM, "<|im_end|>", own="qwen2_5.jinja"),
    "llama3": Family(LLAMA3, (*_HEADERS, "<|eot_id|>"), own="llama3.jinja", **_LLAMA),
    "dated": Family(DATED, (*_HEADERS, "<|eot_id|>"), own="llama3_2.jinja", **_LLAMA),
    "mistral": Family(MISTRAL, ("<s>", "</s>"), "</s>", bos="<s>", eos="</s>", spaces=True),
    "gemma": Family(
        GEMMA,
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        "<end_of_turn>",
        bos="<bos>",
        eos="<eos>",
        own="gemma.jinja",
    ),
    "qwen3": Family(QWEN3, _IM, "<|im_end|>", eos="<|im_end|>", own="qwen3.jinja"),
}


def tokenizer_of(family: Family, template: str | None = None) -> PreTrainedTokenizerFast:
    """One token a letter, no padding token, and the family's template unless another is given."""
    made = _spaced() if family.spaces else _bytes()
    made.add_special_tokens([AddedToken(token, special=True) for token in family.control])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=family.bos, eos_token=family.eos, name_or_path="it"
    )
    fast.chat_template = template or family.template
    return fast


def _bytes() -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    return made


def _spaced() -> Tokenizer:
    letters = [*map(chr, range(33, 127)), "\n", "\u2581"]
    merges = [("\u2581", letter) for letter in "hoxD{["]
    words = [*letters, *(first + second for first, second in merges)]
    made = Tokenizer(models.BPE({word: n for n, word in enumerate(words)}, merges))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    made.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return made
