"""Llama 3's scaled rotary frequencies survive a GGUF file; any other scaling is refused."""

from __future__ import annotations

import math
from pathlib import Path

import gguf
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from envs.errors import ConfigError
from tests.gguf_files import write_gguf
from tests.tiny_models import instruct_model, instruct_tokenizer
from training.storage.pretrained import load_pretrained

THETA = 500_000.0


def scaled(factor: float) -> LlamaForCausalLM:
    """A tiny Llama whose frequencies are scaled as those of Llama 3.1 and later.

    Its weights are large enough for its logits to depend on where a token stands.
    """
    config = instruct_model(3).config.to_dict() | {
        "initializer_range": 0.5,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": THETA,
            "factor": factor,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    }
    torch.manual_seed(3)
    return LlamaForCausalLM(LlamaConfig(**config)).eval()


def factors(width: int, factor: float) -> list[float]:
    """As llama.cpp's converter writes them (convert_hf_to_gguf.py, class LlamaModel)."""
    found = []
    for n in range(0, width, 2):
        wavelength = 2 * math.pi * THETA ** (n / width)
        if wavelength < 8192 / 4:
            found.append(1.0)
        elif wavelength > 8192:
            found.append(factor)
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            found.append(1 / ((1 - smooth) / factor + smooth))
    return found


def head_width(model: LlamaForCausalLM) -> int:
    return int(model.config.hidden_size // model.config.num_attention_heads)


def logits(model: LlamaForCausalLM) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(60).remainder(50)[None]).logits[0]


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_a_scaled_llama_says_the_same_from_a_gguf_file(tmp_path: Path, factor: float) -> None:
    model = scaled(factor)
    plain = LlamaForCausalLM(
        LlamaConfig(
            **model.config.to_dict()
            | {"rope_parameters": {"rope_type": "default", "rope_theta": THETA}}
        )
    ).eval()
    plain.load_state_dict(model.state_dict())
    assert (logits(model) - logits(plain)).abs().max() > 1e-3  # or this test could not fail
    written = factors(head_width(model), factor)
    file = write_gguf(tmp_path / "m.gguf", model, instruct_tokenizer(), rope_factors=written)
    loaded, _ = load_pretrained(file)
    assert isinstance(loaded, LlamaForCausalLM)
    torch.testing.assert_close(logits(loaded), logits(model), atol=1e-5, rtol=1e-5)
    loaded.save_pretrained(tmp_path / "again")  # as a checkpoint is: the scaling stays with it
    again = LlamaForCausalLM.from_pretrained(tmp_path / "again").eval()
    torch.testing.assert_close(logits(again), logits(model), atol=1e-5, rtol=1e-5)


def test_factors_of_one_scale_nothing(tmp_path: Path) -> None:
    model = scaled(1.0)
    ones = [1.0] * (head_width(model) // 2)
    file = write_gguf(tmp_path / "m.gguf", model, instruct_tokenizer(), rope_factors=ones)
    loaded, _ = load_pretrained(file)
    assert loaded.config.rope_parameters["rope_type"] == "default"
    torch.testing.assert_close(logits(loaded), logits(model), atol=1e-5, rtol=1e-5)


def test_unknown_factors_are_refused(tmp_path: Path) -> None:
    model = scaled(8.0)
    odd = [1.0, *[3.0] * (head_width(model) // 2 - 1)]
    file = write_gguf(tmp_path / "m.gguf", model, instruct_tokenizer(), rope_factors=odd)
    with pytest.raises(ConfigError, match=r"rope_freqs.weight, and not as Llama 3 does.*Hugging"):
        load_pretrained(file)


@pytest.mark.parametrize("kind", [gguf.RopeScalingType.LINEAR, gguf.RopeScalingType.YARN])
def test_other_kinds_of_scaling_are_refused(tmp_path: Path, kind: gguf.RopeScalingType) -> None:
    file = write_gguf(tmp_path / "m.gguf", scaled(1.0), instruct_tokenizer(), rope_type=kind)
    with pytest.raises(ConfigError, match=f"rotary frequencies by '{kind.value}'"):
        load_pretrained(file)


def test_no_scaling_by_name_is_no_scaling(tmp_path: Path) -> None:
    none = gguf.RopeScalingType.NONE
    file = write_gguf(tmp_path / "m.gguf", instruct_model(3), instruct_tokenizer(), rope_type=none)
    load_pretrained(file)
