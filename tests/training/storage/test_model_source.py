"""Models come as people have them: folders, GGUF files, adapters; what is wrong has a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, LlamaForCausalLM

from agents.chat_template import ChatTemplate
from envs.errors import ConfigError
from envs.extras import install
from tests.gguf_files import write_gguf
from tests.tiny_models import instruct_model, instruct_tokenizer, random_llama
from training.builders.players import stop_tokens
from training.cli.compose import compose
from training.preflight.checks import check_model
from training.preflight.memory import architecture
from training.preflight.model_size import size_of
from training.storage import model_source
from training.storage.checkpoint import load_checkpoint, save_checkpoint
from training.storage.gguf_header import read_header
from training.storage.pretrained import load_pretrained

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
GGUF = "tiny.gguf"


@pytest.fixture
def gguf_file(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / GGUF, instruct_model(3), instruct_tokenizer())


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    instruct_model(3).save_pretrained(folder)
    instruct_tokenizer().save_pretrained(folder)
    return folder


def adapted(base: Path | str, **config: Any) -> Path:
    """The folder of an adapter that changes something, beside its base."""
    model = LlamaForCausalLM.from_pretrained(base)
    small = {"r": 2, "target_modules": ["q_proj", "v_proj"]}
    lora = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **(small | config)))
    with torch.no_grad():
        for name, weights in lora.named_parameters():
            if "lora_B" in name:
                weights.fill_(0.5)
    folder = Path(base).with_name("adapter")
    lora.save_pretrained(folder)
    return folder


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def refusal(name: Path | str) -> str:
    with pytest.raises(ConfigError) as caught:
        check_model(str(name))
    return str(caught.value)


def test_a_gguf_file_is_the_model_that_it_was_made_of(gguf_file: Path, tmp_path: Path) -> None:
    check_model(str(gguf_file))
    made, (model, tokenizer) = instruct_model(3), load_pretrained(gguf_file)
    ids = torch.arange(8)[None]
    torch.testing.assert_close(model(ids).logits, made(ids).logits)
    streams = [ChatTemplate(t) for t in (tokenizer, instruct_tokenizer())]
    assert streams[0].opening("Be brief.", "hi") == streams[1].opening("Be brief.", "hi")
    assert stop_tokens(model, tokenizer, streams[0]) == (streams[1].end_of_turn,)
    folder = save_checkpoint(tmp_path / "saved", model, tokenizer, {})
    torch.testing.assert_close(load_checkpoint(folder).model(ids).logits, made(ids).logits)


def test_memory_is_planned_from_the_head_of_a_gguf_file(gguf_file: Path) -> None:
    config = compose([f"policy.name={gguf_file}"])
    assert size_of(architecture(config)) == size_of(instruct_model(3).config)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"architecture": "cogvlm"}, "architecture cogvlm, which transformers does not read"),
        ({"architecture": "t5"}, "architecture t5, which transformers does not read"),
        ({"tokenizer": None}, "it holds no tokenizer; give a file with one"),
        ({"has_template": False}, "it holds no chat template; give an instruction-tuned model"),
    ],
)
def test_a_gguf_file_that_cannot_play_is_refused(
    tmp_path: Path, wrong: dict[str, Any], sentence: str
) -> None:
    parts = {"tokenizer": instruct_tokenizer()} | wrong
    write_gguf(tmp_path / GGUF, instruct_model(), **parts)
    assert sentence in refusal(tmp_path / GGUF)


@pytest.mark.parametrize("name", ["qwen2", "qwen2moe", "qwen3", "gemma3", "gpt-oss", "phi3"])
def test_architectures_are_known_by_llama_cpps_names(name: str) -> None:
    assert model_source._can_load(name)


def test_a_gguf_file_that_ends_early_is_refused(gguf_file: Path) -> None:
    whole = gguf_file.read_bytes()
    for length, sentence in [
        (len(whole) - 100, f"the file ends early: it has {len(whole) - 100:,} of"),
        (read_header(gguf_file).data_start - 200, "its head cannot be read to its end"),
        (30, "its head cannot be read to its end"),
        (3, "for it does not begin with GGUF"),
    ]:
        gguf_file.write_bytes(whole[:length])
        assert sentence in refusal(gguf_file)
    assert "there is no such file" in refusal(gguf_file.with_name("other.gguf"))


def test_a_folder_of_gguf_files_names_one(gguf_file: Path) -> None:
    assert f"name the file itself, such as {gguf_file}" in refusal(gguf_file.parent)


def test_an_adapter_is_merged_into_its_base(base: Path) -> None:
    folder = adapted(base)
    check_model(str(folder))
    (merged, _), (plain, _) = load_pretrained(folder), load_pretrained(base)
    down = load_file(folder / "adapter_model.safetensors")
    layer = "model.layers.0.self_attn.q_proj"
    change = 0.5 * down[f"base_model.model.{layer}.lora_A.weight"].sum(0)
    scale = 8 / 2  # peft's alpha over r
    got = merged.get_submodule(layer).weight - plain.get_submodule(layer).weight
    torch.testing.assert_close(got, (scale * change).expand_as(got))
    assert type(merged) is type(plain), "a whole model, as if there had been no adapter"


def test_the_base_of_an_adapter_may_be_a_gguf_file(base: Path, gguf_file: Path) -> None:
    folder = adapted(base)
    (wanted, _) = load_pretrained(folder)
    config = folder / "adapter_config.json"
    edit(config, lambda c: c.update(base_model_name_or_path=f"../{GGUF}"))
    check_model(str(folder))
    merged, tokenizer = load_pretrained(folder)
    ids = torch.arange(8)[None]
    torch.testing.assert_close(merged(ids).logits, wanted(ids).logits)
    assert tokenizer.eos_token == "<|im_end|>"
    size = size_of(architecture(compose([f"policy.name={folder}"])))
    assert size == size_of(AutoConfig.from_pretrained(base))


def test_a_base_that_is_not_there_is_named(base: Path) -> None:
    folder = adapted(base)
    shutil.rmtree(base)
    assert f"an adapter of '{base}', but there is no such folder" in refusal(folder)


def test_a_hub_name_as_base_is_looked_up_when_it_is_loaded(base: Path) -> None:
    folder = adapted(base)
    config = folder / "adapter_config.json"
    edit(config, lambda c: c.update(base_model_name_or_path="owner/model"))
    assert model_source._base_of(folder, "it") == "hf://owner/model"
    check_model(str(folder))


def test_an_adapter_of_another_model_is_refused(base: Path) -> None:
    folder = adapted(base)
    random_llama(0, vocab_size=16, hidden_size=32).save_pretrained(base)
    sentence = refusal(folder)
    assert "changes model.layers.0.self_attn.q_proj.weight as 16 x 16" in sentence
    assert "but its base has it as 32 x 32; name the base that" in sentence
    weights = load_file(folder / "adapter_model.safetensors")
    moved = {name.replace("_proj", "_other"): tensor for name, tensor in weights.items()}
    save_file(moved, folder / "adapter_model.safetensors")
    assert "_other.weight as 16 x 16, but its base has no such weight" in refusal(folder)


def test_an_adapter_of_another_rank_or_kind_is_refused(base: Path) -> None:
    folder = adapted(base)
    config = folder / "adapter_config.json"
    edit(config, lambda c: c.update(r=4))
    assert "says r=4, but base_model.model.model.layers.0" in refusal(folder)
    edit(config, lambda c: c.update(peft_type="PREFIX_TUNING"))
    assert "of the type PREFIX_TUNING, but only those of the type LORA" in refusal(folder)


def test_pickles_are_not_opened(base: Path) -> None:
    adapter = adapted(base)
    for folder, name in ((base, "model"), (adapter, "adapter_model")):
        (folder / f"{name}.safetensors").unlink()
        (folder / f"{name}.bin").write_bytes(b"pickle")
    assert "no *.safetensors weights, only pickled ones, which may run code" in refusal(base)
    assert "no adapter_model.safetensors, only pickled ones" in refusal(adapter)


def test_quantised_weights_are_refused(base: Path) -> None:
    edit(base / "config.json", lambda c: c.update(quantization_config={"quant_method": "awq"}))
    assert "its weights are quantised by awq" in refusal(base)


@pytest.mark.parametrize("library", ["gguf", "peft"])
def test_a_library_that_is_not_there_is_named(
    library: str, gguf_file: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = model_source.find_spec
    monkeypatch.setattr(model_source, "find_spec", lambda n: None if n == library else there(n))
    name, extra = (gguf_file, "gguf") if library == "gguf" else (adapted(base), "lora")
    assert f"but {library} is not installed; install it by pip install" in refusal(name)
    assert install(extra) in refusal(name)
