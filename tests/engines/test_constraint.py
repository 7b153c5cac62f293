"""Replies that must match a pattern: always readable, and measured by the unconstrained model."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from engines.batcher import Batcher
from engines.local import LocalEngine
from engines.types import Completion, Sampling
from envs.errors import EngineError
from tests.engines.completions import Tokens, asked, logps_of
from tests.tiny_models import instruct_model, instruct_tokenizer

TOKENIZER = instruct_tokenizer()
STOP = int(TOKENIZER.eos_token_id)
START = int(TOKENIZER.convert_tokens_to_ids("<|im_start|>"))
MODEL = instruct_model()
WORD = Sampling(1.0, 24, pattern=r'\{"a": "(?:yes|no|perhaps|[ά-ώ🏕-🏟]{1,3})"\}')
FREE = Sampling(1.0, 24)
PROMPTS = ((5,), (3, 4, 5, 6, 7), (9, 9), (3, 4, 5, 6, 7), (2, 8, 2, 8, 2, 8, 2))


def complete(
    prompts: Sequence[Tokens],
    samplings: Sequence[Sampling] | Sampling,
    *,
    tokenizer: PreTrainedTokenizerFast | None = TOKENIZER,
    stop_ids: Tokens = (STOP,),
    together: bool = True,
) -> list[Completion]:
    """Complete prompt n with seed n."""
    batcher = Batcher()
    engine = LocalEngine(MODEL, stop_ids=stop_ids, batcher=batcher, tokenizer=tokenizer)
    requests = asked(engine, prompts, samplings)

    async def one_by_one() -> list[Completion]:
        return [await request for request in requests]

    return asyncio.run(batcher.play(requests) if together else one_by_one())


def text_of(done: Completion) -> str:
    return str(TOKENIZER.decode(list(done.token_ids), skip_special_tokens=True))


@pytest.mark.parametrize("temperature", [1.0, 0.3, 0.0])
def test_a_reply_matches_and_then_ends(temperature: float) -> None:
    """Letters outside ASCII take several tokens here, one a byte."""
    done = complete([(n, 4) for n in range(40)], replace(WORD, temperature=temperature))
    assert WORD.pattern is not None
    texts = [text_of(each) for each in done]
    for each, text in zip(done, texts, strict=True):
        assert each.token_ids[-1] == STOP or len(each.token_ids) == 24
        assert re.fullmatch(WORD.pattern, text) or each.token_ids[-1] != STOP
    assert sum(each.token_ids[-1] == STOP for each in done) > len(done) // 2
    if temperature:
        assert any(not text.isascii() for text in texts)


def test_a_longer_match_is_cut_at_the_limit() -> None:
    (cut,) = complete([(5, 6)], Sampling(1.0, 7, pattern="x{20}"))
    assert text_of(cut) == "x" * 7
    assert STOP not in cut.token_ids


def test_every_stop_token_may_end_a_match_and_none_before() -> None:
    done = complete([(n,) for n in range(60)], replace(WORD, pattern="a"), stop_ids=(STOP, START))
    assert {each.token_ids for each in done} == {(97 - 33, STOP), (97 - 33, START)}


def test_logps_are_the_unconstrained_models() -> None:
    biased = replace(WORD, logit_bias=((int(TOKENIZER("y")["input_ids"][0]), 2.0),))
    samplings = [WORD, FREE, replace(WORD, temperature=0.4), replace(WORD, temperature=0.0), biased]
    for prompt, done in zip(PROMPTS, complete(PROMPTS, samplings), strict=True):
        assert done.logps == pytest.approx(logps_of(MODEL, prompt, done.token_ids), abs=1e-4)


def test_the_constraint_is_measured_by_what_it_forbids() -> None:
    """By hand: `ab` forces two tokens and the end, `[ab]` leaves two tokens and forces the end."""
    a, b = (int(TOKENIZER(letter)["input_ids"][0]) for letter in "ab")
    forced, chosen, free = complete(
        [(5, 6)] * 3, [Sampling(1.0, 9, pattern="ab"), Sampling(0.5, 9, pattern="[ab]"), FREE]
    )
    assert forced.token_ids == (a, b, STOP)
    assert forced.constraint_nats == pytest.approx(-sum(forced.logps), abs=1e-4)
    with torch.no_grad():
        first = MODEL(torch.tensor([[5, 6]])).logits[0, -1].softmax(-1)
    expected = -float(first[[a, b]].sum().log()) - chosen.logps[1]
    assert chosen.constraint_nats == pytest.approx(expected, abs=1e-4)
    assert free.constraint_nats is None


def test_who_else_is_in_the_batch_does_not_matter() -> None:
    samplings = [WORD, FREE, replace(WORD, max_new_tokens=5), FREE, replace(WORD, temperature=0.0)]
    together = complete(PROMPTS, samplings)
    assert together == complete(PROMPTS, samplings), "a seed repeats"
    for one, other in zip(complete(PROMPTS, samplings, together=False), together, strict=True):
        assert one.token_ids == other.token_ids
        assert one.logps == pytest.approx(other.logps, abs=1e-5)
        assert one.constraint_nats == pytest.approx(other.constraint_nats, abs=1e-4)


def test_free_replies_are_what_they_were_without_a_tokenizer() -> None:
    assert complete(PROMPTS, FREE) == complete(PROMPTS, FREE, tokenizer=None)


def test_what_is_allowed_keeps_its_proportions() -> None:
    a, b, n = *(int(TOKENIZER(letter)["input_ids"][0]) for letter in "ab"), 2000
    one = Sampling(0.5, 1, pattern="[ab]")
    drawn = [done.token_ids[0] for done in complete([(3, 4, 5)] * n, one)]
    with torch.no_grad():
        logits = MODEL(torch.tensor([[3, 4, 5]])).logits[0, -1, [a, b]]
    prob = float((logits / 0.5).softmax(-1)[0])
    assert set(drawn) == {a, b}
    assert abs(drawn.count(a) - n * prob) <= 4.5 * (n * prob * (1 - prob)) ** 0.5


@pytest.mark.parametrize(
    ("sampling", "tokenizer", "complaint"),
    [
        (WORD, None, "made without the model's tokenizer"),
        (replace(WORD, pattern="(a"), TOKENIZER, r"The pattern '\(a' cannot be used"),
        (replace(WORD, pattern="(?=a)b"), TOKENIZER, "without look-around"),
        (replace(WORD, pattern=r"a[^\x00-\U0010ffff]"), TOKENIZER, "After 0 tokens"),
    ],
)
def test_what_cannot_be_held_to_is_refused(
    sampling: Sampling, tokenizer: PreTrainedTokenizerFast | None, complaint: str
) -> None:
    with pytest.raises(EngineError, match=complaint):
        complete([(5,), (6,)], sampling, tokenizer=tokenizer)


def test_a_tokenizer_without_bytes_is_refused_by_the_engine_itself() -> None:
    from agents.embedded import make_tokenizer

    with pytest.raises(EngineError, match=r"set policy\.constrained=false"):
        complete([(5,)], WORD, tokenizer=make_tokenizer())
