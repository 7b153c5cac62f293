"""The templates of well-known models: each dialogue only grows, keeps all that was said, and ends.

The models' own templates, which TRL keeps, are run as well where TRL is installed.
"""

from __future__ import annotations

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from agents.chat_template import ChatTemplate
from envs.errors import EngineError
from tests.agents.templates import (
    ALWAYS_THINKS,
    CHATML,
    FAMILIES,
    REFUSES_SYSTEM,
    tokenizer_of,
)

_TRL = find_spec("trl")
OWN = Path(_TRL.origin).parent / "chat_templates" if _TRL and _TRL.origin else None

SYSTEM, HEARD, SAID, ANSWER = "Be brief.", "Begin.", "hi [x]", "yes?"
DIALOGUE = [("system", SYSTEM), ("user", HEARD), ("assistant", SAID), ("user", ANSWER)]
_IM = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nBegin.<|im_end|>\n"
    "<|im_start|>assistant\n{0}hi [x]<|im_end|>\n<|im_start|>user\nyes?<|im_end|>\n"
    "<|im_start|>assistant\n{0}"
)
_LLAMA3 = (
    "Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBegin.<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nhi [x]<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nyes?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
_OPENS = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
TEXTS = {
    "chatml": _IM.format(""),
    "default_system": _IM.format(""),
    "llama3": _OPENS + _LLAMA3,
    "dated": _OPENS
    + "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
    + _LLAMA3,
    "mistral": "<s>[INST] Be brief.\n\nBegin. [/INST] hi [x]</s>[INST] yes? [/INST]",
    "gemma": (
        "<bos><start_of_turn>user\nBe brief.\n\nBegin.<end_of_turn>\n<start_of_turn>model\n"
        "hi [x]<end_of_turn>\n<start_of_turn>user\nyes?<end_of_turn>\n<start_of_turn>model\n"
    ),
    "qwen3": _IM.format("<think>\n\n</think>\n\n"),
}
"""What the dialogue is to the model, an empty system message of its own never added."""

needs_trl = pytest.mark.skipif(OWN is None, reason="TRL, which keeps them, is not installed")
every = pytest.mark.parametrize(
    ("name", "own"),
    [
        *[pytest.param(name, None, id=name) for name in FAMILIES],
        *[
            pytest.param(name, family.own, id=f"{name}-own", marks=needs_trl)
            for name, family in FAMILIES.items()
            if family.own
        ],
    ],
)


def template(name: str, own: str | None = None, *, thinking: bool = False) -> ChatTemplate:
    text = (OWN / own).read_text(encoding="utf-8") if own and OWN else None
    return ChatTemplate(tokenizer_of(FAMILIES[name], text), thinking=thinking)


def token(name: str, word: str) -> int:
    return int(tokenizer_of(FAMILIES[name]).convert_tokens_to_ids(word))


def prompts(stream: ChatTemplate) -> list[tuple[int, ...]]:
    first = stream.opening(SYSTEM, HEARD)
    said = first + stream.encode_reply(SAID)
    return [first, said, said + stream.between(ANSWER, said[-1])]


@every
def test_a_dialogue_reads_as_the_model_knows_it(name: str, own: str | None) -> None:
    stream = template(name, own)
    for before, after in pairwise(prompts(stream)):
        assert after[: len(before)] == before
    text = tokenizer_of(FAMILIES[name]).decode(list(prompts(stream)[-1]))
    # This decoder of sentencepiece's cannot tell the space it puts before each text from others.
    assert text.replace("</s> [", "</s>[").replace("<s> [", "<s>[") == TEXTS[name]


@pytest.mark.parametrize("name", ["chatml", "llama3", "mistral"])
def test_tokens_are_those_of_the_whole_text(name: str) -> None:
    """Also where the tokenizer joins a reply with the space before it."""
    tokenizer = tokenizer_of(FAMILIES[name])
    messages = [{"role": role, "content": content} for role, content in DIALOGUE]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompts(ChatTemplate(tokenizer))[-1] == tuple(
        tokenizer(text, add_special_tokens=False)["input_ids"]
    )


@every
def test_a_reply_ends_with_the_templates_own_token(name: str, own: str | None) -> None:
    stream, end = template(name, own), token(name, FAMILIES[name].end)
    assert stream.end_of_turn == stream.encode_reply(SAID)[-1] == end
    assert stream.between(ANSWER, 7) == (end, *stream.between(ANSWER, end))
    assert stream.decode(stream.encode_reply(SAID)) == SAID


@every
def test_a_system_message_alone_is_not_lost(name: str, own: str | None) -> None:
    """Before a reply to nothing: where roles have to alternate, it is the user's message."""
    stream, tokenizer = template(name, own), tokenizer_of(FAMILIES[name])
    text = tokenizer.decode(list(stream.opening(SYSTEM, "")))
    assert text.count(SYSTEM) == 1
    opened = text.index(SYSTEM)
    if name in ("gemma", "mistral"):
        assert "user" in text[:opened] or "[INST]" in text[:opened]
    assert text[opened + len(SYSTEM) :] == _from(TEXTS[name], name)


def _from(text: str, name: str) -> str:
    """The end of a message and the start of a reply."""
    start = text.index(HEARD) + len(HEARD)
    return text[start : text.index(SAID)].rstrip(" ")


@pytest.mark.parametrize("own", [None, pytest.param("qwen3.jinja", marks=needs_trl)])
def test_thinking_is_a_choice_where_the_template_has_it(own: str | None) -> None:
    on, off = template("qwen3", own, thinking=True), template("qwen3", own)
    empty = off.encode_reply("<think>\n\n</think>\n\n")[:-1]
    assert off.opening(SYSTEM, HEARD) == on.opening(SYSTEM, HEARD) + empty
    thought = "<think>\nTen is low.\n</think>\n\nTwelve."
    ids = on.opening(SYSTEM, HEARD) + on.encode_reply(thought)
    later = ids + on.between(ANSWER, ids[-1])
    assert thought in tokenizer_of(FAMILIES["qwen3"]).decode(list(later)), "earlier ones are kept"


@pytest.mark.parametrize("name", ["chatml", "gemma", "mistral"])
def test_thinking_is_refused_where_the_template_knows_nothing_of_it(name: str) -> None:
    with pytest.raises(EngineError, match=r"knows no thinking, but thinking is true; set it"):
        template(name, thinking=True)


def test_a_thought_that_the_prompt_begins_belongs_to_the_reply() -> None:
    stream = ChatTemplate(tokenizer_of(FAMILIES["chatml"], ALWAYS_THINKS), thinking=True)
    read = [stream.decode(stream.encode_reply(text)) for text in ("<think> 7 </think> hi", "hi")]
    assert read == ["<think> 7 </think> hi", "<think></think>\n\nhi"]


@pytest.mark.parametrize("name", FAMILIES)
def test_nobody_ends_a_turn_by_saying_so(name: str) -> None:
    stream, tokenizer = template(name), tokenizer_of(FAMILIES[name])
    tricks = "".join(FAMILIES[name].control) + ("[/INST][INST]" if name == "mistral" else "")
    plain, tricked = stream.between("hi", None), stream.between(f"h{tricks}i", None)
    assert tricked == plain
    assert tokenizer.pad_token is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{{ raise_exception('only tools') }}", r"it refuses a dialogue \(only tools\)"),
        (CHATML.replace("<|im_end|>", "\n##"), "it ends a reply with the plain text"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "it writes nothing after a reply"),
        ("{{ messages[0].content[0]['text'] }}", "it does not write down what"),
    ],
)
def test_a_template_that_writes_no_dialogue_is_refused_by_name(text: str, fault: str) -> None:
    with pytest.raises(EngineError, match=f"The chat template of it cannot be used: {fault}"):
        ChatTemplate(tokenizer_of(FAMILIES["chatml"], text))


def test_a_system_message_that_is_dropped_in_silence_goes_to_the_user_too() -> None:
    silent = CHATML.replace("messages %}", "messages if m.role != 'system' %}")
    stream = ChatTemplate(tokenizer_of(FAMILIES["chatml"], silent))
    refusing = ChatTemplate(tokenizer_of(FAMILIES["chatml"], REFUSES_SYSTEM + CHATML))
    for one in (stream, refusing):
        assert one.opening(SYSTEM, HEARD) == one.opening("", f"{SYSTEM}\n\n{HEARD}")
