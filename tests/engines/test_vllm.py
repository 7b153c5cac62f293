"""The engine of vLLM against the model itself and the embedded engine; a CPU is enough.

Log-probs of these sharp random models agree within 5e-4 nats in float32.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from agents.embedded import BASE_FOLDER
from engines.batcher import Batcher
from engines.local import LocalEngine
from engines.types import Completion, Sampling
from engines.vllm import VllmEngine
from engines.vllm_options import VllmOptions
from engines.weights import weights_version
from envs.errors import EngineError
from tests.engines import completions
from tests.engines.completions import (
    LONG,
    PROMPTS,
    STOP,
    VOCABULARY,
    Tokens,
    asked,
    logps_of,
)
from tests.tiny_models import instruct_tokenizer, random_llama
from training.storage.pretrained import load_pretrained

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.filterwarnings("default"),  # vLLM's own are not ours to mend
    pytest.mark.slow,
]

AGREEMENT_NATS = 5e-4
tiny_model = partial(completions.tiny_model, positions=64)
SMALL = VllmOptions(max_running=64, step_tokens=256, kv_cache_gib=0.05)


class House:
    """One engine for all tests of this file, since each of them takes a part of a second."""

    def __init__(self) -> None:
        self.batcher = Batcher()
        self.model = tiny_model()
        self.engine = VllmEngine(self.model, stop_ids=(STOP,), batcher=self.batcher, options=SMALL)

    def complete(
        self, prompts: Sequence[Tokens], samplings: Sequence[Sampling] | Sampling = LONG
    ) -> list[Completion]:
        """Complete prompt n with seed n, all together."""
        return asyncio.run(self.batcher.play(asked(self.engine, prompts, samplings)))


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    made = House()
    yield made
    made.engine.close()


def test_logps_are_the_models_own_whatever_the_sampling(house: House) -> None:
    samplings = [LONG, Sampling(0.3, 12), Sampling(0.0, 12), Sampling(1.0, 12, ((7, 3.0),)), LONG]
    for prompt, done in zip(PROMPTS, house.complete(PROMPTS, samplings), strict=True):
        expected = logps_of(house.model, prompt, done.token_ids)
        assert done.logps == pytest.approx(expected, abs=AGREEMENT_NATS)
        assert done.weights_version == weights_version(house.model)


def test_temperature_zero_is_what_the_embedded_engine_says(house: House) -> None:
    greedy, batcher = Sampling(0.0, 12, ((7, 1.0),)), Batcher()
    local = LocalEngine(tiny_model(), stop_ids=(STOP,), batcher=batcher)
    each = [greedy] * len(PROMPTS)
    theirs = asyncio.run(batcher.play(asked(local, PROMPTS, each)))
    for ours, other in zip(house.complete(PROMPTS, greedy), theirs, strict=True):
        assert ours.token_ids == other.token_ids
        assert ours.logps == pytest.approx(other.logps, abs=AGREEMENT_NATS)


def test_a_seed_draws_the_same_whoever_shares_the_steps(house: House) -> None:
    together = house.complete(PROMPTS)
    assert together == house.complete(PROMPTS), "bit for bit"
    assert together[1].token_ids != together[3].token_ids, "the same prompt with other seeds"
    for seed, prompt in enumerate(PROMPTS):
        alone = asyncio.run(house.engine.generate(prompt, LONG, seed=seed))
        assert alone.token_ids == together[seed].token_ids
        assert alone.logps == pytest.approx(together[seed].logps, abs=AGREEMENT_NATS)


def test_tokens_are_drawn_as_often_as_the_biased_model_says(house: House) -> None:
    prompt, n, bias = (3, 4, 5), 2000, 1.5
    halved = Sampling(temperature=0.5, max_new_tokens=1, logit_bias=((7, bias),))
    drawn = [done.token_ids[0] for done in house.complete([prompt] * n, halved)]
    with torch.no_grad():
        logits = house.model(torch.tensor([prompt])).logits[0, -1]
    logits[7] += bias
    for token, prob in enumerate((logits / 0.5).softmax(-1).tolist()):
        deviation = math.sqrt(n * prob * (1 - prob))
        assert abs(drawn.count(token) - n * prob) <= 4.5 * deviation + 1


def test_a_reply_ends_with_a_stop_token_or_at_the_limit(house: House) -> None:
    done = house.complete([(n, 5) for n in range(2, VOCABULARY)])
    ended = [c for c in done if c.token_ids[-1] == STOP]
    assert 0 < len(ended) < len(done)
    assert all(STOP not in c.token_ids[:-1] for c in done)
    assert {len(c.token_ids) for c in done if c not in ended} == {12}


def test_nobody_waits_for_the_slowest(house: House) -> None:
    """One long reply, and meanwhile a dialogue of many short ones."""
    ends: list[str] = []

    async def long() -> None:
        await house.engine.generate((3, 4), Sampling(1.0, 40, ((STOP, -100.0),)), seed=0)
        ends.append("long")

    async def short() -> None:
        for turn in range(5):
            await house.engine.generate((5, turn + 2), Sampling(1.0, 2), seed=turn)
            ends.append("short")

    asyncio.run(house.batcher.play([long(), short()]))
    assert ends == [*["short"] * 5, "long"]


def test_who_is_cancelled_leaves_and_the_others_stay(house: House) -> None:
    async def run() -> Completion:
        left = asyncio.create_task(house.engine.generate((3, 4), LONG, seed=1))
        stayed = asyncio.create_task(house.engine.generate((3, 4), LONG, seed=2))
        await asyncio.sleep(0)
        left.cancel()
        return await stayed

    alone = asyncio.run(house.engine.generate((3, 4), LONG, seed=2))
    assert asyncio.run(run()).token_ids == alone.token_ids
    assert not house.engine._process.engine.has_unfinished_requests()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("head", [8, 32])  # vLLM has heads of 32 on CPUs, those of 8 are widened
def test_publishing_is_exact_and_named(house: House, tied: bool, head: int) -> None:
    first, second = tiny_model(1, tied=tied, head=head), tiny_model(2, tied=tied, head=head)
    batcher = Batcher()
    engine = VllmEngine(first, stop_ids=(STOP,), batcher=batcher, options=SMALL)
    for model in (first, second, first):
        assert engine.publish(model) == engine.weights_version == weights_version(model)
        assert engine.gap_nats <= AGREEMENT_NATS
        (done,) = asyncio.run(batcher.play(asked(engine, [(3, 4, 5)] * 1, [LONG])))
        expected = logps_of(model, (3, 4, 5), done.token_ids)
        assert done.logps == pytest.approx(expected, abs=AGREEMENT_NATS)
        assert done.weights_version == weights_version(model)
    engine.close()  # the other engine of the process lives on
    assert house.complete([(5,)])


def test_keys_and_values_of_old_weights_are_forgotten(house: House) -> None:
    long_prompt = tuple(random.Random(1).choices(range(2, VOCABULARY), k=50))
    house.complete([long_prompt])
    other = tiny_model(5)
    house.engine.publish(other)
    (done,) = house.complete([long_prompt])
    expected = logps_of(other, long_prompt, done.token_ids)
    assert done.logps == pytest.approx(expected, abs=AGREEMENT_NATS)
    house.engine.publish(house.model)


def test_a_weight_that_is_not_transferred_is_seen() -> None:
    """The real thing: without its copy, a tied output layer keeps the old weights on CPUs."""
    model = tiny_model(3, tied=True)
    engine = VllmEngine(model, stop_ids=(STOP,), batcher=Batcher(), options=SMALL)
    load = engine._process.load
    engine._process.load = lambda named: load(  # type: ignore[method-assign]
        (name, tensor) for name, tensor in named if name != "lm_head.weight"
    )
    with pytest.raises(EngineError, match="weights are not the trainer's"):
        engine.publish(tiny_model(4, tied=True))
    assert engine.weights_version == weights_version(model), "the version tells what was verified"
    engine.close()


def test_nothing_is_published_under_way(house: House) -> None:
    async def run() -> None:
        task = asyncio.create_task(house.engine.generate((3, 4), LONG, seed=1))
        await asyncio.sleep(0)
        with pytest.raises(EngineError, match="1 requests are under way"):
            house.engine.publish(house.model)
        await task

    asyncio.run(run())


def test_more_prompts_than_one_step_holds(house: House) -> None:
    rng = random.Random(3)
    prompts = [tuple(rng.choices(range(2, VOCABULARY), k=rng.randint(10, 50))) for _ in range(50)]
    assert sum(map(len, prompts)) > 4 * SMALL.step_tokens
    for prompt, done in zip(prompts, house.complete(prompts), strict=True):
        expected = logps_of(house.model, prompt, done.token_ids)
        assert done.logps == pytest.approx(expected, abs=AGREEMENT_NATS)


def test_what_vllm_would_change_silently_is_refused(house: House) -> None:
    with pytest.raises(EngineError, match=r"below 0\.01"):
        house.complete([(3,)], Sampling(0.001))
    with pytest.raises(EngineError, match="at most 100 nats"):
        house.complete([(3,)], Sampling(1.0, 4, ((3, 101.0),)))
    with pytest.raises(EngineError, match=r"60 tokens and 12 new ones .* engine's 64"):
        house.complete([(3,) * 60])


def test_a_failure_of_vllm_reaches_everybody(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("no more")

    with monkeypatch.context() as patch:
        patch.setattr(house.engine._process.engine, "step", fail)
        with pytest.raises(EngineError, match="vLLM failed while it generated"):
            house.complete(PROMPTS)
    assert len(house.complete(PROMPTS)) == len(PROMPTS)


def test_a_guest_leaves_random_states_and_threads_alone() -> None:
    random.seed(7)
    torch.manual_seed(7)
    expected = random.random(), torch.rand(1).item()
    random.seed(7)
    torch.manual_seed(7)
    threads = torch.get_num_threads()
    engine = VllmEngine(tiny_model(), stop_ids=(STOP,), batcher=Batcher(), options=SMALL)
    assert (random.random(), torch.rand(1).item()) == expected
    torch.set_num_threads(threads + 1)
    assert torch.get_num_threads() == threads + 1
    torch.set_num_threads(threads)
    engine.close()


def test_replies_match_their_patterns_and_keep_the_models_own_logps() -> None:
    """Beside free replies, and with a bias; two tokens may end a turn, and prompts take steps."""
    tokenizer, batcher = instruct_tokenizer(), Batcher()
    stop = tuple(int(tokenizer.convert_tokens_to_ids(t)) for t in ("<|im_start|>", "<|im_end|>"))
    model = random_llama(0, vocab_size=len(tokenizer), hidden_size=64, max_position_embeddings=64)
    engine = VllmEngine(
        model.eval(), stop_ids=stop, batcher=batcher, options=SMALL, tokenizer=tokenizer
    )
    word = Sampling(1.0, 24, pattern=r'\{"a": "(?:yes|no|perhaps|[ά-ώ🏕-🏟]{1,3})"\}')
    quote = int(tokenizer("y")["input_ids"][0])
    kinds = [
        word,
        Sampling(1.0, 12),
        replace(word, temperature=0.0),
        replace(word, logit_bias=((quote, 5.0),)),
        replace(word, max_new_tokens=5),
    ]
    samplings = [kinds[n % len(kinds)] for n in range(100)]  # more than run together
    prompts = [(n, *range(n % 30)) for n in range(100)]
    done = asyncio.run(batcher.play(asked(engine, prompts, samplings)))
    assert done == asyncio.run(batcher.play(asked(engine, prompts, samplings))), "bit for bit"
    for prompt, sampling, each in zip(prompts, samplings, done, strict=True):
        assert each.logps == pytest.approx(logps_of(model, prompt, each.token_ids), abs=1e-3)
        assert (each.constraint_nats is None) == (sampling.pattern is None)
        if sampling.pattern and each.token_ids[-1] in stop:
            text = tokenizer.decode(list(each.token_ids), skip_special_tokens=True)
            assert re.fullmatch(sampling.pattern, text)
        elif sampling.pattern:
            assert len(each.token_ids) == sampling.max_new_tokens
    ends = {each.token_ids[-1] for each, how in zip(done, samplings, strict=True) if how == word}
    assert ends >= set(stop)
    forced = asyncio.run(engine.generate((5, 6), Sampling(0.5, 9, pattern="ab"), seed=0))
    assert forced.constraint_nats is not None
    last = math.log(math.exp(forced.logps[2]) + _other(model, (5, 6), forced.token_ids, stop))
    assert forced.constraint_nats == pytest.approx(-sum(forced.logps[:2]) - last, abs=1e-3), (
        "by hand: two tokens are forced, and then either end of a turn"
    )
    alone = [asyncio.run(engine.generate(prompts[n], samplings[n], seed=n)) for n in range(5)]
    assert [each.token_ids for each in alone] == [each.token_ids for each in done[:5]]
    for one, other in zip(alone, done[:5], strict=True):
        assert one.constraint_nats == pytest.approx(other.constraint_nats, abs=1e-3)
    local = LocalEngine(model, stop_ids=stop, batcher=Batcher(), tokenizer=tokenizer)
    theirs = asyncio.run(local.generate(prompts[2], samplings[2], seed=2))
    assert theirs.token_ids == done[2].token_ids
    assert theirs.constraint_nats == pytest.approx(done[2].constraint_nats, abs=1e-3)
    engine.close()


def _other(model: Any, prompt: Tokens, said: Tokens, stop: Tokens) -> float:
    """The probability of the end of a turn that was not drawn."""
    (other,) = set(stop) - {said[-1]}
    return math.exp(logps_of(model, prompt, (*said[:-1], other))[-1])


def test_the_small_model_says_the_same_as_behind_the_embedded_engine() -> None:
    """Its heads of 24 are widened to 32; greedy replies to a real prompt agree word for word."""
    model, tokenizer = load_pretrained(BASE_FOLDER)
    stop = (int(tokenizer.eos_token_id),)
    batcher, other = Batcher(), Batcher()
    engine = VllmEngine(model, stop_ids=stop, batcher=batcher)
    local = LocalEngine(model, stop_ids=stop, batcher=other)
    rng = random.Random(2)
    prompts = [tuple(rng.choices(range(5, 400), k=rng.randint(3, 200))) for _ in range(40)]
    each = [Sampling(0.0, 16)] * len(prompts)
    ours = asyncio.run(batcher.play(asked(engine, prompts, each)))
    theirs = asyncio.run(other.play(asked(local, prompts, each)))
    same = [a.token_ids == b.token_ids for a, b in zip(ours, theirs, strict=True)]
    assert sum(same) >= len(prompts) - 1, "but for a tie that rounding decides"
    for a, b, is_same in zip(ours, theirs, same, strict=True):
        if is_same:
            assert a.logps == pytest.approx(b.logps, abs=1e-3)
    engine.close()
