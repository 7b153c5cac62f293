"""The embedded engine against the model itself: same tokens alone or together, same log-probs."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Sequence
from typing import Literal

import pytest
import torch
from transformers import LlamaForCausalLM, PretrainedConfig

from engines.batcher import Batcher
from engines.kv_cache import state_bytes
from engines.local import LocalEngine
from engines.prefill import best_ahead
from engines.types import Completion, Sampling
from engines.weights import weights_version
from envs.errors import EngineError
from tests.architectures import gemma3, gemma3_with_vision, mistral, qwen35, random_model
from tests.engines.completions import (
    LONG,
    PROMPTS,
    STOP,
    VOCABULARY,
    Tokens,
    asked,
    logps_of,
    tiny_model,
)


def engine_of(
    model: LlamaForCausalLM, *, stop_ids: tuple[int, ...] = (STOP,), max_batch: int = 256
) -> tuple[LocalEngine, Batcher]:
    batcher = Batcher()
    engine = LocalEngine(model, stop_ids=stop_ids, batcher=batcher, max_batch=max_batch)
    return engine, batcher


def complete(
    model: LlamaForCausalLM,
    prompts: Sequence[tuple[int, ...]],
    samplings: Sequence[Sampling] | Sampling = LONG,
    *,
    together: bool = True,
    stop_ids: tuple[int, ...] = (STOP,),
    max_batch: int = 256,
) -> list[Completion]:
    """Complete prompt n with seed n."""
    engine, batcher = engine_of(model, stop_ids=stop_ids, max_batch=max_batch)
    requests = asked(engine, prompts, samplings)

    async def one_by_one() -> list[Completion]:
        return [await request for request in requests]

    return asyncio.run(batcher.play(requests) if together else one_by_one())


def without_verification(monkeypatch: pytest.MonkeyPatch) -> None:
    """No passes but those that are counted."""
    monkeypatch.setattr(LocalEngine, "_verify", lambda engine, tokens: None)


@pytest.mark.parametrize("max_batch", [256, 2])
def test_together_is_as_one_by_one(max_batch: int) -> None:
    model = tiny_model()
    samplings = [LONG, Sampling(max_new_tokens=3), Sampling(0.5, 12), LONG, Sampling(0.0, 9)]
    alone = complete(model, PROMPTS, samplings, together=False)
    batched = complete(model, PROMPTS, samplings, max_batch=max_batch)
    assert [c.token_ids for c in batched] == [c.token_ids for c in alone]
    assert len({c.token_ids for c in alone}) == len(alone)
    for one, other in zip(alone, batched, strict=True):
        assert one.logps == pytest.approx(other.logps, abs=1e-5)


def test_what_prompts_share_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two histories with four continuations each: same tokens, and fewer of them are encoded."""
    model = tiny_model()
    trunks = [tuple((3 * n + k) % 9 + 5 for n in range(24)) for k in range(2)]
    prompts = [(*trunk, 5 + k, 6) for trunk in trunks for k in range(4)] + [(7, 8)]
    encoded: list[int] = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: encoded.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    sampling = Sampling(max_new_tokens=1)
    plain = complete(model, prompts, sampling)
    before, encoded[:] = sum(encoded), []
    monkeypatch.setattr("engines.local.SHORTEST_SHARED", 8)
    monkeypatch.setattr("engines.local._WORTH_A_PASS", 1)
    shared = complete(model, prompts, sampling)
    assert [c.token_ids for c in shared] == [c.token_ids for c in plain]
    for one, other in zip(shared, plain, strict=True):
        assert one.logps == pytest.approx(other.logps, abs=1e-5)
    assert sum(encoded) <= before - 2 * 3 * 20, "two trunks of 24 tokens, three times each"


@pytest.mark.parametrize(
    ("lengths", "best"),
    [
        ([10], (0, 0)),
        ([10, 10, 10], (0, 0)),
        ([24, 2, 2, 2], (1, 4 * 22 - 24)),  # the others stay as wide as they are
        ([24, 12, 1], (2, 3 * 23 - 36)),
        ([24, 23, 12, 11], (4, 4 * 23 - 48 - 24)),
    ],
)
def test_as_much_is_encoded_ahead_as_saves_most(lengths: list[int], best: tuple[int, int]) -> None:
    assert best_ahead(lengths) == best


def test_one_new_prompt_does_not_make_all_others_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six dialogues go on by two tokens each beside one that begins with 24."""
    model = tiny_model()
    first = [(5 + n, 6, 7, 8) for n in range(6)]
    new = tuple(5 + n % 8 for n in range(24))
    sampling = Sampling(max_new_tokens=1)
    encoded: list[int] = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: encoded.append(kwargs["input_ids"].numel()), with_kwargs=True
    )

    def second_turns() -> list[Completion]:
        engine, batcher = engine_of(model, stop_ids=())
        begun = asyncio.run(batcher.play(asked(engine, first, sampling)))
        prompts = [(*p, *done.token_ids, 6, 7) for p, done in zip(first, begun, strict=True)]
        encoded.clear()
        return asyncio.run(batcher.play(asked(engine, [*prompts, new], sampling)))

    plain = second_turns()
    before = sum(encoded)
    monkeypatch.setattr("engines.local._WORTH_A_PASS", 1)
    ahead = second_turns()
    assert [c.token_ids for c in ahead] == [c.token_ids for c in plain]
    for one, other in zip(ahead, plain, strict=True):
        assert one.logps == pytest.approx(other.logps, abs=1e-5)
    assert sum(encoded) < before - 50


def test_of_two_engines_one_may_have_nothing_to_do() -> None:
    batcher, first = Batcher(), tiny_model()
    busy, _ = (LocalEngine(first, stop_ids=(STOP,), batcher=batcher) for _ in range(2))
    done = asyncio.run(batcher.play(asked(busy, PROMPTS, LONG)))
    assert [c.token_ids for c in done] == [c.token_ids for c in complete(first, PROMPTS)]


def test_a_batch_ends_where_its_keys_and_values_would_take_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_verification(monkeypatch)
    model = tiny_model()
    alone = complete(model, PROMPTS, together=False)
    longest = max(len(prompt) for prompt in PROMPTS) + LONG.max_new_tokens
    monkeypatch.setattr("engines.local.BATCH_BYTES", 2 * longest * state_bytes(model.config, 4))
    rows: list[int] = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    batched = complete(model, PROMPTS)
    assert [c.token_ids for c in batched] == [c.token_ids for c in alone]
    assert max(rows) == 2
    monkeypatch.setattr("engines.local.BATCH_BYTES", 1)
    rows.clear()
    complete(model, PROMPTS)
    assert max(rows) == 1, "a request that is larger by itself is served all the same"


def test_logps_are_the_models_own_whatever_the_sampling() -> None:
    model = tiny_model()
    samplings = [LONG, Sampling(0.3, 12), Sampling(0.0, 12), Sampling(1.0, 12, ((7, 3.0),)), LONG]
    for prompt, done in zip(PROMPTS, complete(model, PROMPTS, samplings), strict=True):
        assert len(done.logps) == len(done.token_ids)
        assert done.logps == pytest.approx(logps_of(model, prompt, done.token_ids), abs=1e-4)


def test_tokens_are_drawn_as_often_as_the_model_says() -> None:
    model, prompt, n = tiny_model(), (3, 4, 5), 2000
    halved = Sampling(temperature=0.5, max_new_tokens=1)
    drawn = [done.token_ids[0] for done in complete(model, [prompt] * n, halved)]
    with torch.no_grad():
        probs = (model(torch.tensor([prompt])).logits[0, -1] / 0.5).softmax(-1)
    for token, prob in enumerate(probs.tolist()):
        deviation = math.sqrt(n * prob * (1 - prob))
        assert abs(drawn.count(token) - n * prob) <= 4.5 * deviation + 1


def test_temperature_zero_takes_the_most_probable_token() -> None:
    model = tiny_model()
    greedy = Sampling(temperature=0.0, max_new_tokens=6)
    for prompt, done in zip(PROMPTS, complete(model, PROMPTS, greedy), strict=True):
        ids = list(prompt)
        for token in done.token_ids:
            assert token == model(torch.tensor([ids])).logits[0, -1].argmax().item()
            ids.append(token)


def test_a_bias_bans_or_forces_its_own_request_alone() -> None:
    model = tiny_model()
    free = complete(model, [(3, 4)] * 3)
    common = free[0].token_ids[0]
    samplings = [
        Sampling(max_new_tokens=2),  # it leaves the batch first
        Sampling(1.0, 12, tuple((t, -math.inf) for t in range(VOCABULARY) if t != 8)),
        Sampling(1.0, 12, ((common, -1e4),)),
    ]
    first, forced, banned = complete(model, [(3, 4)] * 3, samplings)
    assert first.token_ids == free[0].token_ids[:2]
    assert forced.token_ids == (8,) * 12
    assert common not in banned.token_ids


def test_a_completion_ends_with_a_stop_token_or_at_its_limit() -> None:
    model = tiny_model()
    unstopped = complete(model, PROMPTS, stop_ids=())
    assert {len(done.token_ids) for done in unstopped} == {12}
    stops = (unstopped[0].token_ids[4], unstopped[1].token_ids[2])
    for done, whole in zip(complete(model, PROMPTS, stop_ids=stops), unstopped, strict=True):
        ends = [n for n, token in enumerate(whole.token_ids) if token in stops]
        length = min(ends, default=11) + 1
        assert done.token_ids == whole.token_ids[:length]  # the stop token is part of it


def test_a_longer_limit_draws_the_same_beginning() -> None:
    model = tiny_model()
    (short,) = complete(model, [(3, 4)], Sampling(max_new_tokens=3), stop_ids=())
    (long,) = complete(model, [(3, 4)], Sampling(max_new_tokens=9), stop_ids=())
    assert short.token_ids == long.token_ids[:3]


def test_equal_prompts_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    without_verification(monkeypatch)
    model = tiny_model()
    rows: list[int] = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    complete(model, [(3, 4), (5,), (3, 4), (3, 4)], stop_ids=())
    assert rows == [2, *[4] * 11]


def test_who_came_first_does_not_matter() -> None:
    model = tiny_model()

    def after_naps(naps: tuple[float, ...]) -> list[Completion]:
        engine, batcher = engine_of(model, max_batch=2)

        async def ask(seed: int, nap_s: float) -> Completion:
            await asyncio.sleep(nap_s)
            return await engine.generate(PROMPTS[seed], LONG, seed=seed)

        return asyncio.run(batcher.play([ask(seed, nap) for seed, nap in enumerate(naps)]))

    assert after_naps((0, 0, 0, 0, 0)) == after_naps((0.02, 0, 0.01, 0, 0.03))


def test_two_runs_agree_bit_for_bit_and_seeds_differ() -> None:
    first = complete(tiny_model(), PROMPTS)
    assert first == complete(tiny_model(), PROMPTS)  # log-probs too, without any tolerance
    same_prompt = complete(tiny_model(), [(3, 4)] * 8)
    assert len({done.token_ids for done in same_prompt}) == 8


def test_what_does_not_fit_is_said_in_a_sentence() -> None:
    engine, _ = engine_of(tiny_model())
    fits = (2,) * (32 - 12)
    assert asyncio.run(engine.generate(fits, LONG, seed=0)).token_ids
    sentence = (
        r"21 tokens and 12 new ones do not fit the model's 32 positions; lower env\.max_turns"
    )
    with pytest.raises(EngineError, match=sentence):
        asyncio.run(engine.generate((*fits, 2), LONG, seed=0))


def test_a_cancelled_request_is_forgotten() -> None:
    engine, batcher = engine_of(tiny_model())

    async def fails() -> Completion:
        raise EngineError("the other failed")

    with pytest.raises(EngineError, match="the other failed"):
        asyncio.run(batcher.play([engine.generate((3,), LONG, seed=0), _busy(), fails()]))
    (done,) = asyncio.run(batcher.play([engine.generate((3,), LONG, seed=0)]))
    assert [done] == complete(tiny_model(), [(3,)])


async def _busy() -> Completion:
    await asyncio.sleep(60)
    raise AssertionError("it should have been cancelled")


def test_publishing_changes_what_is_said_and_names_it() -> None:
    engine, batcher = engine_of(tiny_model(0))
    trainer = tiny_model(1).train()
    assert engine.weights_version == weights_version(tiny_model(0))
    assert engine.publish(trainer) == weights_version(trainer)
    assert trainer.training  # the trainer is left as it was
    asked = [engine.generate(prompt, LONG, seed=seed) for seed, prompt in enumerate(PROMPTS)]
    published = asyncio.run(batcher.play(asked))
    assert published == complete(tiny_model(1), PROMPTS)
    assert published != complete(tiny_model(0), PROMPTS)
    assert {done.weights_version for done in published} == {weights_version(trainer)}


def test_the_trainers_later_steps_do_not_reach_the_engine() -> None:
    trainer = tiny_model(1)
    engine, _ = engine_of(tiny_model(0))
    version = engine.publish(trainer)
    with torch.no_grad():
        trainer.lm_head.weight.add_(1.0)
    assert weights_version(engine._model) == version


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("fault", [0.01, math.nan])
def test_a_copy_that_went_wrong_is_caught(
    monkeypatch: pytest.MonkeyPatch, fault: float, dtype: Literal["float32", "bfloat16"]
) -> None:
    engine = LocalEngine(tiny_model(0), stop_ids=(STOP,), batcher=Batcher(), dtype=dtype)
    load = engine._model.load_state_dict

    def load_all_but_one(state: dict[str, torch.Tensor]) -> object:
        broken = {name: tensor.clone() for name, tensor in state.items()}
        broken["model.layers.1.mlp.down_proj.weight"] += fault
        return load(broken)

    monkeypatch.setattr(engine._model, "load_state_dict", load_all_but_one)
    with pytest.raises(EngineError, match=r"engine and trainer differ by .* nats on a probe"):
        engine.publish(tiny_model(1))


def test_a_dialogue_goes_on_as_if_it_were_encoded_anew() -> None:
    """The second prompt continues the first one's stream, whose keys and values are kept."""
    model, context = tiny_model(), (4, 6)
    engine, batcher = engine_of(model, stop_ids=())

    async def dialogue(opening: Tokens, seed: int) -> tuple[Tokens, Completion]:
        first = await engine.generate(opening, Sampling(max_new_tokens=5), seed=seed)
        prompt = (*opening, *first.token_ids, *context)
        return prompt, await engine.generate(prompt, Sampling(max_new_tokens=5), seed=seed + 1)

    talks = [dialogue(opening, seed) for seed, opening in enumerate(PROMPTS[:3])]
    for prompt, second in asyncio.run(batcher.play(talks)):
        expected = logps_of(model, prompt, second.token_ids)
        assert list(second.logps) == pytest.approx(expected, abs=1e-4)


def test_a_wave_does_not_depend_on_what_was_played_before() -> None:
    engine, batcher = engine_of(tiny_model())
    first = asyncio.run(batcher.play([engine.generate(p, LONG, seed=3) for p in PROMPTS]))
    again = asyncio.run(batcher.play([engine.generate(p, LONG, seed=3) for p in PROMPTS]))
    assert first == again


def test_asleep_it_holds_no_dialogues() -> None:
    """During an update the memory is the trainer's."""
    engine, batcher = engine_of(tiny_model(), stop_ids=())
    [done] = asyncio.run(batcher.play(asked(engine, [PROMPTS[0]], LONG)))
    spoken = (*PROMPTS[0], *done.token_ids)
    assert engine._prefix_cache.longest_prefix(spoken) is not None
    engine.sleep()
    assert engine._prefix_cache.longest_prefix(spoken) is None
    engine.wake()
    assert asyncio.run(batcher.play(asked(engine, [PROMPTS[0]], LONG))) == [done]


def test_half_precision_is_a_copy_that_stays_near_the_trainer() -> None:
    model = tiny_model()
    batcher = Batcher()
    engine = LocalEngine(model, stop_ids=(STOP,), batcher=batcher, dtype="bfloat16")
    assert model.dtype is torch.float32
    assert engine.weights_version == weights_version(model)
    [done] = asyncio.run(batcher.play(asked(engine, [PROMPTS[0]], LONG)))
    expected = logps_of(model, PROMPTS[0], done.token_ids)
    assert max(abs(a - b) for a, b in zip(done.logps, expected, strict=True)) < 0.1
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.5)
    assert engine.publish(model) == weights_version(model) == engine.weights_version


def test_rounding_to_half_precision_is_no_disagreement() -> None:
    """Logits far from 0 are rounded by whole nats, as those of rare tokens in real models are."""
    model = tiny_model(tied=True)
    engine = LocalEngine(model, stop_ids=(STOP,), batcher=Batcher(), dtype="bfloat16")
    with torch.no_grad():
        model.lm_head.weight.mul_(10_000)
    rounded = copy.deepcopy(model).bfloat16()
    probe = torch.arange(16).unsqueeze(0)
    assert (rounded(probe).logits.float() - model(probe).logits).abs().max() > 1
    assert engine.publish(model) == weights_version(model)


def test_a_model_whose_sizes_lie_in_a_part_of_its_configuration_plays() -> None:
    model = random_model(gemma3_with_vision(512))
    prompt = tuple(range(2, 60))
    (done,) = complete(model, [prompt], Sampling(max_new_tokens=4), stop_ids=(1,))
    assert done.logps == pytest.approx(logps_of(model, prompt, done.token_ids), abs=1e-4)
    engine, _ = engine_of(model)
    engine.publish(copy.deepcopy(model))


@pytest.mark.filterwarnings("ignore")  # kernels that are not installed
@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (mistral(64), "in dialogues of 256 tokens its log-probs differ by"),
        (gemma3(64), "as with attention that is limited to a window shorter than"),
        (qwen35(), "which keeps keys and values from turn to turn and no other state"),
    ],
)
def test_models_that_the_cache_does_not_suit_are_refused(
    config: PretrainedConfig, sentence: str
) -> None:
    model = random_model(config)
    with pytest.raises(EngineError) as caught:
        complete(model, [tuple(range(60)) * 3])
    assert sentence in str(caught.value)


def test_a_window_that_no_dialogue_fills_is_no_hindrance() -> None:
    model = random_model(mistral(128))
    assert complete(model, [tuple(range(40))], Sampling(max_new_tokens=4))
