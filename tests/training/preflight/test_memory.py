"""The memory plan: counts that agree with real models, and sentences before what cannot fit."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch
from rich.console import Console
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen3Config,
)

from envs.errors import ConfigError
from training.cli.compose import compose
from training.learning.passes import checkpointed, deterministic
from training.preflight import memory
from training.preflight.memory import check_memory, memory_plan
from training.preflight.memory_table import GIB, totals
from training.preflight.model_size import size_of

SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
LLAMA = LlamaConfig(**SMALL, intermediate_size=176, tie_word_embeddings=True)
QWEN = Qwen3Config(**SMALL, intermediate_size=160, head_dim=32)
LLAMA_8B = LlamaConfig(
    vocab_size=128256,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
)
QWEN_4B = Qwen3Config(
    vocab_size=151936,
    hidden_size=2560,
    intermediate_size=9728,
    num_hidden_layers=36,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    tie_word_embeddings=True,
)


@pytest.fixture(params=[LLAMA, QWEN], ids=["llama", "qwen3"])
def config(request: pytest.FixtureRequest) -> PretrainedConfig:
    return request.param


def test_weights_are_counted_as_they_are(config: PretrainedConfig) -> None:
    model = AutoModelForCausalLM.from_config(config)
    size = size_of(config)
    assert size.weights == model.num_parameters() == size.trainable(None)
    changes = peft.LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM")
    changed = peft.LoraModel(model, changes, "default")
    assert size.trainable(3) == sum(p.numel() for p in changed.parameters() if p.requires_grad)


def test_a_model_of_another_kind_is_counted_too() -> None:
    config = GPT2Config(vocab_size=50, n_positions=64, n_embd=64, n_layer=3, n_head=4)
    size = size_of(config)
    assert size.weights == AutoModelForCausalLM.from_config(config).num_parameters()
    assert (size.layers, size.feed_forward, size.head) == (3, 256, 16)


def test_known_models_have_their_known_sizes() -> None:
    assert size_of(LLAMA_8B).weights == 8_030_261_248
    assert size_of(QWEN_4B).weights == 4_022_468_096


def kept_bytes(model: PreTrainedModel, columns: int) -> int:
    """What a forward pass keeps for the backward pass beside the weights, counted once each."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}
    alive: list[torch.Tensor] = []  # else a later tensor may have the place of an earlier one

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model.get_decoder()(input_ids=torch.arange(columns)[None] % 50)
    return sum(kept.values())


def test_what_a_backward_pass_keeps_is_reckoned_well(config: PretrainedConfig) -> None:
    model = AutoModelForCausalLM.from_config(config)
    with deterministic(model):
        measured = kept_bytes(model, 64)
    assert size_of(config).activation_bytes(64, "float32", checkpointing=False) == pytest.approx(
        measured, rel=0.25
    )


def test_with_checkpointing_layers_keep_what_goes_into_them(config: PretrainedConfig) -> None:
    model = AutoModelForCausalLM.from_config(config)
    with deterministic(model), checkpointed(model, True):
        measured = kept_bytes(model, 64)
    size = size_of(config)
    one_layer = size.activation_bytes(64, "float32", checkpointing=False) / size.layers
    reckoned = size.activation_bytes(64, "float32", checkpointing=True) - one_layer
    assert reckoned == pytest.approx(measured, rel=0.6)
    assert reckoned < 0.2 * one_layer * size.layers


def sums(config: PretrainedConfig, *words: str) -> dict[str, tuple[float, float]]:
    """GiB while playing and updating, by where."""
    run = compose(["+experiment=sotopia_sdpo", *words])
    plan = memory_plan(run, size_of(config))
    return {total.where: (total.playing / GIB, total.updating / GIB) for total in totals(plan)}


def test_the_scales_fit_the_gpus_that_they_name() -> None:
    for architecture, words, card in (
        (LLAMA_8B, ("scale=llama8b_gpu",), 139.8),
        (LLAMA_8B, ("scale=llama8b_gpu", "lora.rank=64", "engine.kv_cache_gib=4"), 79.6),
        (QWEN_4B, ("scale=qwen3_4b_gpu",), 79.6),
        (QWEN_4B, ("scale=qwen3_4b_gpu", "lora.rank=64", "engine.kv_cache_gib=4"), 47.5),
    ):
        assert max(sums(architecture, *words)["GPU"]) < 0.95 * card, words


def test_all_weights_take_sixteen_bytes_each() -> None:
    _, updating = sums(LLAMA_8B, "scale=llama8b_gpu")["GPU"]
    assert updating > 16 * 8.03e9 / GIB
    _, low_rank = sums(LLAMA_8B, "scale=llama8b_gpu", "lora.rank=64")["GPU"]
    assert low_rank < updating / 3


def test_playing_beside_the_update_needs_both_at_once() -> None:
    playing, updating = sums(LLAMA_8B, "scale=llama8b_gpu")["GPU"]
    both = sums(LLAMA_8B, "scale=llama8b_gpu", "schedule=overlapped")["GPU"]
    assert min(both) > playing + updating - 4 * 8.03e9 / GIB  # the weights are there once


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Check a run on a machine with these memories, GiB; what the terminal shows."""

    def check(architecture: PretrainedConfig, there: dict[str, float], *words: str) -> str:
        monkeypatch.setattr(memory, "architecture", lambda config: architecture)
        monkeypatch.setattr(
            memory, "_available_memory", lambda: {k: v * GIB for k, v in there.items()}
        )
        console = Console(file=io.StringIO(), width=100)
        check_memory(compose(["+experiment=sotopia_sdpo", *words]), console)
        return console.file.getvalue()  # type: ignore[attr-defined]

    return check


def test_what_cannot_fit_is_refused_with_what_would_help(on: Callable[..., str]) -> None:
    with pytest.raises(ConfigError) as refused:
        on(LLAMA_8B, {"GPU": 79.6, "machine": 128.0}, "scale=llama8b_gpu")
    said = str(refused.value)
    assert "While updating, about 126.0 GiB of the GPU's memory are needed" in said
    assert "lora.rank=64 or update.token_budget=4096" in said
    with pytest.raises(ConfigError, match=r"While playing, .* a smaller engine\.kv_cache_gib"):
        on(LLAMA_8B, {"GPU": 79.6, "machine": 128.0}, "scale=llama8b_gpu", "lora.rank=64")
    with pytest.raises(ConfigError, match="of the machine's memory are needed"):
        on(LLAMA_8B, {"machine": 23.5})
    with pytest.raises(ConfigError, match=r"torch sees no GPU.*or set device=cpu engine=local"):
        on(LLAMA_8B, {"machine": 128.0}, "scale=llama8b_gpu")


def test_the_plan_is_shown_where_a_gpu_is_used(on: Callable[..., str]) -> None:
    shown = on(LLAMA_8B, {"GPU": 139.8, "machine": 128.0}, "scale=llama8b_gpu")
    assert "AdamW's moments" in shown
    assert "8.03 billion weights; all are trained." in shown
    dry = on(LLAMA_8B, {"machine": 8.0}, "scale=llama8b_gpu", "lora.rank=64", "dry_run=true")
    assert "none" in dry
    assert "167.8 million low-rank ones are trained" in dry
    assert on(LLAMA, {"machine": 8.0}) == "", "the small model needs no plan"


def test_an_engine_may_take_a_share_of_the_gpu() -> None:
    run = compose(["scale=llama8b_gpu", "engine.kv_cache_gib=null", "engine.gpu_memory_share=0.3"])
    plan = memory_plan(run, size_of(LLAMA_8B), gpu=100 * GIB)
    assert [p.playing for p in plan if p.what.endswith("engine")] == [30 * GIB] * 2


@pytest.mark.parametrize("policy", ["embedded", "scratch"])
def test_the_built_in_models_are_found(policy: str) -> None:
    check_memory(compose([f"policy={policy}"]), Console(file=io.StringIO()))


def test_a_model_on_the_gpu_is_generated_for_by_vllm() -> None:
    with pytest.raises(ConfigError, match="device is cuda, but engine=local generates on the CPU"):
        compose(["device=cuda"])


SMOLLM2 = LlamaConfig(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    tie_word_embeddings=True,
)
REAL = ("scale=cpu", "policy.name=folder", "cloning.precision=float32", "update.precision=float32")


def cloning(*words: str) -> float:
    """GiB that stage 0 of SmolLM2's architecture takes."""
    run = compose(["+experiment=sotopia_sdpo", *REAL, *words])
    (total,) = totals(memory_plan(run, size_of(SMOLLM2)))
    return total.cloning / GIB


def test_stage_0_is_planned_as_it_was_measured() -> None:
    """Peaks of docs/how-to/memory.md."""
    assert cloning("cloning.token_budget=1024", "cloning.checkpointing=true") == pytest.approx(
        2.99, rel=0.25
    )
    assert cloning("cloning.token_budget=2048") == pytest.approx(6.75, rel=0.25)


def test_rows_without_a_budget_are_planned_as_long_as_they_are() -> None:
    assert cloning("cloning.token_budget=null", "cloning.batch_rows=64") > 23.5
    assert cloning("cloning.token_budget=null", "cloning.batch_rows=2") < 10
    assert cloning("cloning.dialogues=0") == 0


def test_a_demonstrator_is_planned_beside_the_waiting_policy() -> None:
    words = (*REAL, "env.wave=4", "cloning.dialogues=3", "engine.dtype=bfloat16")
    run = compose(["+experiment=sotopia_sdpo", *words])
    policy, other = size_of(SMOLLM2), size_of(LLAMA)
    parts = {p.what: p for p in memory_plan(run, policy, demonstrator=other) if p.demonstrating}
    assert parts["the policy's weights, waiting"].demonstrating == 4 * policy.weights
    assert parts["the demonstrator's weights"].demonstrating == 4 * other.weights
    assert parts["the demonstrator's engine"].demonstrating == 2 * other.weights
    assert parts["demonstrations under way"].demonstrating > 0
    assert all(p.playing == p.updating == p.cloning == 0 for n, p in parts.items() if "demo" in n)
    (total,) = totals(list(parts.values()))
    assert total.demonstrating == pytest.approx(sum(p.demonstrating for p in parts.values()))
    gpu = compose(["scale=llama8b_gpu", "engine.kv_cache_gib=16"])
    (engine,) = (
        p for p in memory_plan(gpu, size_of(QWEN_4B), demonstrator=size_of(LLAMA_8B))
        if p.demonstrating and p.where == "GPU"
    )  # fmt: skip
    assert engine.demonstrating == pytest.approx(2 * 8_030_261_248 + 18 * GIB)
    assert not any(p.demonstrating for p in memory_plan(run, policy))


def test_a_demonstrator_that_does_not_fit_is_refused(
    on: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "architecture_of", lambda name: LLAMA_8B)
    words = (*REAL, "demonstrations.checkpoint.name=expert")
    with pytest.raises(ConfigError, match=r"While demonstrating, about .* set env\.wave=32, or"):
        on(SMOLLM2, {"machine": 23.5}, *words)
    assert "demonstrating" in on(SMOLLM2, {"machine": 23.5}, *words, "dry_run=true")
    assert "demonstrating" not in on(SMOLLM2, {"machine": 23.5}, *REAL)


def test_what_stage_0_cannot_have_is_refused_with_its_options(on: Callable[..., str]) -> None:
    words = (*REAL, "cloning.token_budget=16384")
    with pytest.raises(ConfigError) as refused:
        on(SMOLLM2, {"machine": 16.0}, *words)
    said = str(refused.value)
    assert "While cloning" in said
    assert "cloning.checkpointing=true" in said
    assert "cloning.token_budget=8192" in said
    shown = on(SMOLLM2, {"machine": 16.0}, *words, "dry_run=true")
    assert "A run would be refused here: While cloning" in shown
    assert "gradients" in on(SMOLLM2, {"machine": 23.5}, *REAL)


def test_bfloat16_on_a_cpu_without_it_is_cautioned(
    on: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*REAL[:2], "cloning.precision=bfloat16", "update.precision=auto", "engine.dtype=auto")
    monkeypatch.setattr(memory, "has_bfloat16", lambda device: False)
    assert "cloning.precision ask" in on(SMOLLM2, {"machine": 64.0}, *words)
    monkeypatch.setattr(memory, "has_bfloat16", lambda device: True)
    assert "Caution" not in on(SMOLLM2, {"machine": 64.0}, *words)
