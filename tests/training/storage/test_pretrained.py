"""A model is what its files say, or it is refused: nothing is filled in, dropped or overlooked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaForCausalLM

from agents.chat_template import ChatTemplate
from envs.errors import CheckpointError, ConfigError, EngineError
from tests.gguf_files import write_gguf
from tests.tiny_models import instruct_model, instruct_tokenizer
from training.cli.compose import compose
from training.play.collector import Collector
from training.preflight.checks import check_model
from training.preflight.memory import architecture
from training.preflight.model_size import size_of
from training.storage.checkpoint import AVERAGE, load_checkpoint, save_checkpoint
from training.storage.manifest import MANIFEST
from training.storage.pretrained import load_pretrained

UP = "model.layers.0.mlp.up_proj.weight"
Weights = dict[str, Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model as somebody else has saved it."""
    instruct_model(3).save_pretrained(tmp_path / "model")
    instruct_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change(file: Path, edit: Callable[[Weights], object]) -> None:
    weights = load_file(file)
    edit(weights)
    save_file(weights, file, metadata={"format": "pt"})


def prefixed(weights: Weights) -> None:
    """As torch.compile names them."""
    for name in list(weights):
        weights[f"_orig_mod.{name}"] = weights.pop(name)


def spoilt(weights: Weights, value: float) -> None:
    weights[UP][0, 0] = value


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda w: w.pop(UP), f"1 are missing, such as {UP}. Copy the whole folder again"),
        (lambda w: w.pop("lm_head.weight"), "1 are missing, such as lm_head.weight"),
        (prefixed, "have no place in the model, such as _orig_mod.lm_head.weight"),
        (lambda w: w.update(extra=torch.ones(2)), "1 have no place in the model, such as extra"),
        (lambda w: w.update({UP: torch.ones(4, 4)}), f"1 have another shape, such as {UP}"),
        (lambda w: spoilt(w, float("nan")), f"hold NaN or infinite numbers, such as {UP}"),
        (lambda w: spoilt(w, float("inf")), f"hold NaN or infinite numbers, such as {UP}"),
    ],
)
def test_weights_that_are_not_the_models_are_refused(
    folder: Path, edit: Callable[[Weights], object], sentence: str
) -> None:
    change(folder / "model.safetensors", edit)
    with pytest.raises(ConfigError) as caught:
        load_pretrained(folder)
    assert sentence in str(caught.value)


def test_a_head_that_is_tied_is_not_missing(tmp_path: Path) -> None:
    model = instruct_model(3)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(tmp_path)
    instruct_tokenizer().save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    loaded, _ = load_pretrained(tmp_path)
    assert torch.equal(loaded.lm_head.weight, model.model.embed_tokens.weight)


def test_a_gguf_file_with_a_weight_missing_is_refused(tmp_path: Path) -> None:
    class Holed(LlamaForCausalLM):
        def state_dict(self, *args: object, **kwargs: object) -> Weights:
            return {n: w for n, w in super().state_dict(*args, **kwargs).items() if n != UP}

    model = instruct_model(3)
    model.__class__ = Holed
    file = write_gguf(tmp_path / "tiny.gguf", model, instruct_tokenizer())
    with pytest.raises(ConfigError, match=rf"tiny\.gguf are not those .* such as {UP}"):
        load_pretrained(file)


def test_the_average_of_a_checkpoint_is_checked_too(tmp_path: Path) -> None:
    average = instruct_model(4)
    with torch.no_grad():
        average.lm_head.weight[0, 0] = torch.nan
    saved = save_checkpoint(tmp_path / "0001", instruct_model(3), instruct_tokenizer(), {}, average)
    with pytest.raises(ConfigError, match=rf"{AVERAGE} hold NaN"):
        load_checkpoint(saved)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda w: [w.pop(name) for name in list(w) if "v_proj" in name], "v_proj.lora_A"),
        (lambda w: w.update({"base_model.model.other": torch.ones(2)}), "other"),
    ],
)
def test_an_adapter_that_is_not_whole_is_refused(
    folder: Path, edit: Callable[[Weights], object], named: str
) -> None:
    lora = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"])
    adapter = folder.with_name("adapter")
    get_peft_model(LlamaForCausalLM.from_pretrained(folder), lora).save_pretrained(adapter)
    load_pretrained(adapter)
    change(adapter / "adapter_model.safetensors", edit)
    with pytest.raises(
        ConfigError, match=f"missing or have no place in its base, such as .*{named}"
    ):
        load_pretrained(adapter)


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4f0e\nsize 540000000\n"


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda f: truncated(f / "model.safetensors"), "model.safetensors is damaged ("),
        (lambda f: (f / "model.safetensors").write_text(LFS), "run git lfs pull"),
        (lambda f: (f / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "config.json is not JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json holds no options"),
    ],
)
def test_broken_files_are_named_before_the_run(
    folder: Path, harm: Callable[[Path], object], sentence: str
) -> None:
    harm(folder)
    with pytest.raises(ConfigError) as caught:
        check_model(str(folder))
    assert sentence in str(caught.value)


def test_lost_shards_are_named_before_the_run(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    instruct_model(3).save_pretrained(folder, max_shard_size="8KB")
    load_pretrained(folder)
    lost = sorted(folder.glob("model-*"))[1]
    lost.unlink()
    with pytest.raises(ConfigError, match=rf"lacks 1 of the \d+ files .* such as {lost.name}"):
        check_model(str(folder))
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(ConfigError, match="lists no weights"):
        check_model(str(folder))
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(ConfigError, match=r"without model\.safetensors\.index\.json"):
        check_model(str(folder))


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "nonsense"},
        {"model_type": "llama", "hidden_size": "many"},
        {"model_type": "llama", "num_attention_heads": 0},
        {"model_type": "t5"},
    ],
)
def test_a_configuration_that_transformers_does_not_take_has_a_sentence(
    folder: Path, config: dict[str, object]
) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"of .*model cannot be loaded"):
        load_pretrained(folder)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        size_of(architecture(compose([f"policy.name={folder}"])))


def test_a_broken_tokenizer_has_a_sentence(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(ConfigError, match=r"The tokenizer of .*model cannot be loaded"):
        load_pretrained(folder)


@pytest.mark.parametrize("template", ["{{ 1 / 0 }}", "{{ range(10 ** 9) }}", "{{ ''.x.y }}"])
def test_a_template_that_fails_has_a_sentence(template: str) -> None:
    tokenizer = instruct_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(EngineError, match="cannot be used: it refuses a dialogue"):
        ChatTemplate(tokenizer)


@pytest.mark.parametrize(
    "template",
    ["{{ 'x' * 10 ** 8 }}", "{% for m in messages %}{{ m.content * 10**7 }}{% endfor %}"],
)
def test_a_template_that_writes_too_much_has_a_sentence(template: str) -> None:
    tokenizer = instruct_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(EngineError, match=r"it makes .* characters of a dialogue of"):
        ChatTemplate(tokenizer)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Checkpoint 0002 of a run."""
    (tmp_path / "config.yaml").write_text("{}")
    for number in (0, 2):
        saved = save_checkpoint(
            tmp_path / "checkpoints" / f"{number:04d}", instruct_model(3), instruct_tokenizer(), {}
        )
    return saved


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda f: flipped(f / "model.safetensors"), "model.safetensors has SHA-256"),
        (lambda f: (f / MANIFEST).unlink(), "manifest.json is missing or cannot be read"),
        (lambda f: (f / MANIFEST).write_text(""), "manifest.json is missing or cannot be read"),
        (lambda f: (f / MANIFEST).write_text('{"sha256": {}}'), "it lists no files"),
        (lambda f: (f / "adapter.safetensors").touch(), "adapter.safetensors is not in"),
    ],
)
def test_a_checkpoint_is_checked_wherever_it_is_read(
    checkpoint: Path, harm: Callable[[Path], object], sentence: str
) -> None:
    (checkpoint / ".DS_Store").touch()  # what the system puts everywhere is no part of it
    load_pretrained(checkpoint)
    harm(checkpoint)
    config = compose(["schedule=iterative", "collect.refresh_every=2"]).collect
    collector = Collector(
        player=None,  # type: ignore[arg-type]
        engine=None,  # type: ignore[arg-type]
        model=instruct_model(),
        config=config,
        folder_of=lambda iteration: checkpoint.with_name(f"{iteration:04d}"),
    )
    for read in (
        lambda: load_pretrained(checkpoint),  # a policy, or a partner
        lambda: load_checkpoint(checkpoint),
        lambda: collector.turn_to(3),
    ):
        with pytest.raises(CheckpointError) as caught:
            read()
        assert sentence in str(caught.value)
