"""Tiny configurations of architectures that differ in more than their sizes."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen3_5TextConfig,
)

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
}
_GEMMA3 = SIZES | {"head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]}
_VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def random_model(config: PretrainedConfig) -> PreTrainedModel:
    """A model with the same random weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model.eval()


def llama() -> LlamaConfig:
    return LlamaConfig(**SIZES)


def mistral(window: int | None) -> MistralConfig:
    """Attention to the last `window` tokens in all layers."""
    return MistralConfig(**SIZES, sliding_window=window)


def gemma3(window: int) -> Gemma3TextConfig:
    """Attention to the last `window` tokens in one of two layers."""
    return Gemma3TextConfig(**_GEMMA3, sliding_window=window)


def gemma3_with_vision(window: int) -> Gemma3Config:
    """As of 4B: the sizes of the text model lie in a part of their own."""
    return Gemma3Config(text_config=_GEMMA3 | {"sliding_window": window}, vision_config=_VISION)


def gemma2(**more: Any) -> Gemma2Config:
    """Capped logits."""
    return Gemma2Config(**(SIZES | more), head_dim=8)


def granite(scale: float) -> GraniteConfig:
    """Logits divided by `scale`."""
    return GraniteConfig(**SIZES, logits_scaling=scale)


def qwen35() -> Qwen3_5TextConfig:
    """A recurrent layer and one of attention."""
    return Qwen3_5TextConfig(
        **SIZES,
        head_dim=8,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        layer_types=["linear_attention", "full_attention"],
    )


def gpt2(dropout: float = 0.1) -> GPT2Config:
    """Learned positions, and dropout in training."""
    rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
    return GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=128, **rates)
