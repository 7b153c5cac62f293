"""Small GGUF files, written as llama.cpp's converter writes those of real models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

_NORMAL, _CONTROL = 1, 3
_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(
    file: Path,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast | None,
    *,
    architecture: str = "llama",
    has_template: bool = True,
    rope_factors: Sequence[float] = (),
    rope_type: gguf.RopeScalingType | None = None,
) -> Path:
    """A Llama with its tokenizer of bytes, in one file; without a tokenizer if there is none.

    Args:
        rope_factors: by how much each rotary frequency is divided; none: not written.
    """
    writer, config = gguf.GGUFWriter(file, architecture), model.config
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if tokenizer is not None:
        _add_tokenizer(writer, tokenizer, has_template=has_template)
    if rope_type is not None:
        writer.add_rope_scaling_type(rope_type)
        writer.add_rope_scaling_factor(4.0)
    if rope_factors:
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_tensor("rope_freqs.weight", np.array(rope_factors, dtype=np.float32))
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        writer.add_tensor(_their_name(name), _their_order(name, tensor.numpy(), config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_tokenizer(
    writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast, *, has_template: bool
) -> None:
    words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    special = set(tokenizer.added_tokens_decoder)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([_CONTROL if n in special else _NORMAL for n in range(len(words))])
    writer.add_token_scores([0.0] * len(words))
    writer.add_eos_token_id(tokenizer.eos_token_id)
    if has_template:
        writer.add_chat_template(tokenizer.chat_template)


def _their_name(name: str) -> str:
    ends = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem = name.removesuffix(".weight")
    if stem in ends:
        return f"{ends[stem]}.weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{_NAMES[part]}.weight"


def _their_order(name: str, weights: NDArray[np.float32], config: object) -> NDArray[np.float32]:
    """Llama's queries and keys are kept there with the halves of each head interleaved."""
    for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
        if part in name:
            n = getattr(config, heads)
            halves = weights.reshape(n, 2, -1, weights.shape[1]).swapaxes(1, 2)
            return np.ascontiguousarray(halves.reshape(weights.shape))
    return weights
