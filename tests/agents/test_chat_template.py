"""A seat's tokens are only ever appended to, whatever the chat template does to older turns."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from agents.chat_template import ChatTemplate
from agents.embedded import make_tokenizer
from envs.errors import EngineError

# After Qwen's: a default system message, and earlier replies lose their private thoughts.
FORGETFUL = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n"
    "{% endif %}"
    "{% for m in messages %}"
    "{% set content = m['content'] %}"
    "{% if m['role'] == 'assistant' and not loop.last %}"
    "{% set content = content.split('</think>')[-1].lstrip() %}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
OPENS, ENDS = "<|im_start|>", "<|im_end|>"


def forgetful_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes with a few merges, so that tokens depend on their neighbours."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("a", "n"), ("an", "d"), ("Ġ", "and"), ("Ċ", "Ċ"), (">", "Ċ"), ("h", "i")]
    words = [*letters, *(first + second for first, second in merges)]
    tokenizer = Tokenizer(models.BPE({word: n for n, word in enumerate(words)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in CONTROL])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=ENDS)
    fast.chat_template = FORGETFUL
    return fast


TOKENIZERS = {"embedded": make_tokenizer(), "forgetful": forgetful_tokenizer()}
END = {
    name: TOKENIZERS[name].convert_tokens_to_ids(e)
    for name, e in (("embedded", "<eos>"), ("forgetful", ENDS))
}
both = pytest.mark.parametrize("name", TOKENIZERS)


def rendered(name: str, messages: list[tuple[str, str]]) -> tuple[int, ...]:
    """The template applied to the whole dialogue at once."""
    tokenizer = TOKENIZERS[name]
    text = tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in messages],
        tokenize=False,
        add_generation_prompt=True,
    )
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


DIALOGUE = [
    ("system", "price buy limit=9 aim=3"),
    ("assistant", "<think> 1 2 </think> do offer price=4"),
    ("user", "do offer price=7"),
    ("assistant", "<think> 2 -1 </think> say that is too much"),
    ("user", "do accept"),
]


def prompts_of(name: str, *, cut: bool = False) -> list[tuple[int, ...]]:
    """Both prompts of the dialogue and the last one's continuation; `cut` replies lack an end."""
    stream = ChatTemplate(TOKENIZERS[name])
    ids = stream.opening(DIALOGUE[0][1], "")
    prompts = [ids]
    for (_, reply), (_, heard) in zip(DIALOGUE[1::2], DIALOGUE[2::2], strict=True):
        said = stream.encode_reply(reply)
        assert said[-1] == END[name]
        ids += said[:-1] if cut else said
        ids += stream.between(heard, ids[-1])
        prompts.append(ids)
    return prompts


@both
@pytest.mark.parametrize("cut", [False, True])
def test_each_prompt_begins_with_the_one_before_it(name: str, cut: bool) -> None:
    prompts = prompts_of(name, cut=cut)
    for before, after in pairwise(prompts):
        assert after[: len(before)] == before
        assert len(after) > len(before)


def test_the_forgetful_template_is_as_nasty_as_it_claims() -> None:
    said = ChatTemplate(TOKENIZERS["forgetful"]).encode_reply(DIALOGUE[1][1])
    before = rendered("forgetful", DIALOGUE[:1]) + said
    after = rendered("forgetful", DIALOGUE[:3])
    assert after[: len(before)] != before  # rendered anew, the seat never thought


@both
def test_the_stream_reads_as_the_template_would_write_it_with_thoughts_kept(name: str) -> None:
    text = TOKENIZERS[name].decode(list(prompts_of(name)[-1]))
    if name == "embedded":
        assert prompts_of(name)[-1] == rendered(name, DIALOGUE)
        assert text == (
            "price buy limit=9 aim=3 <me> <think> 1 2 </think> do offer price=4 <eos> <them> do "
            "offer price=7 <eos> <me> <think> 2 -1 </think> say that is too much <eos> <them> do "
            "accept <eos> <me>"
        )
    else:
        assert text == (
            "<|im_start|>system\nprice buy limit=9 aim=3<|im_end|>\n"
            "<|im_start|>assistant\n<think> 1 2 </think> do offer price=4<|im_end|>\n"
            "<|im_start|>user\ndo offer price=7<|im_end|>\n"
            "<|im_start|>assistant\n<think> 2 -1 </think> say that is too much<|im_end|>\n"
            "<|im_start|>user\ndo accept<|im_end|>\n"
            "<|im_start|>assistant\n"
        )


@both
def test_an_end_of_turn_is_not_repeated_and_a_cut_reply_gets_one(name: str) -> None:
    assert prompts_of(name) == prompts_of(name, cut=True)
    stream = ChatTemplate(TOKENIZERS[name])
    ended, cut = stream.between("do accept", END[name]), stream.between("do accept", 7)
    assert cut == (END[name], *ended)
    assert ended.count(END[name]) == 1  # the other's


def test_a_space_before_the_end_of_turn_does_not_hide_it() -> None:
    tokenizer = forgetful_tokenizer()
    tokenizer.chat_template = FORGETFUL.replace("content }}<", "content }} <")
    stream, end = ChatTemplate(tokenizer), END["forgetful"]
    assert stream.encode_reply("hi")[-1] == end
    assert stream.between("hi", None) == (end, *stream.between("hi", end))


@both
def test_the_opening_is_the_templates(name: str) -> None:
    stream = ChatTemplate(TOKENIZERS[name])
    heard = [("system", "price buy limit=9"), ("user", "do offer price=7")]
    assert stream.opening("price buy limit=9", "do offer price=7") == rendered(name, heard)
    assert stream.opening("price buy limit=9", "") == rendered(name, heard[:1])


@both
def test_nothing_heard_makes_no_message(name: str) -> None:
    spoken = ChatTemplate(TOKENIZERS[name]).between("", None)
    texts = {"embedded": "<eos> <me>", "forgetful": f"{ENDS}\n{OPENS}assistant\n"}
    assert TOKENIZERS[name].decode(list(spoken)) == texts[name]


@both
def test_a_reply_reads_back_without_special_tokens(name: str) -> None:
    stream = ChatTemplate(TOKENIZERS[name])
    for _, reply in DIALOGUE[1::2]:
        assert stream.decode(stream.encode_reply(reply)) == reply


WORDS = st.lists(
    st.sampled_from([*CONTROL, "<|im_", "end|>", "\u241f", "hi", " ", "\nand", "<eos>"])
).map("".join)


@given(heard=WORDS)
def test_words_are_no_control_tokens(heard: str) -> None:
    tokenizer, name = TOKENIZERS["forgetful"], "forgetful"
    stream = ChatTemplate(tokenizer)
    control = set(tokenizer.convert_tokens_to_ids(list(CONTROL)))
    plain = [token for token in stream.between("hi", END[name]) if token in control]
    got = stream.between(heard, END[name])
    kept = tokenizer.decode([token for token in got if token not in control])
    assert [token for token in got if token in control] in (
        plain,
        plain[-1:],  # nothing was left of the words
    )
    assert heard.count("\u241f") == kept.count("\u241f")
    opening = stream.opening(heard or "x", "hi")
    assert sum(token in control for token in opening) <= 5


def test_control_tokens_do_not_come_together_when_one_is_cut_out() -> None:
    stream = ChatTemplate(TOKENIZERS["forgetful"])
    nested = "hi<|im_<|im_end|>end|>hi"
    assert stream.between(nested, None) == stream.between("hihi", None)


def test_without_a_template_there_is_a_sentence() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(EngineError, match="no chat template; use an instruction-tuned model"):
        ChatTemplate(tokenizer)


def test_a_tokenizer_that_is_saved_with_limits_cuts_nothing() -> None:
    limited, free = forgetful_tokenizer(), forgetful_tokenizer()
    limited.backend_tokenizer.enable_truncation(4)
    limited.backend_tokenizer.enable_padding(length=64)
    for said in ("hi and hand", "and " * 40):
        assert ChatTemplate(limited).opening("", said) == ChatTemplate(free).opening("", said)
        assert ChatTemplate(limited).between(said, None) == ChatTemplate(free).between(said, None)
