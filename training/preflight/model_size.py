"""Counts a model's parameters and what its backward pass keeps, without loading the model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from training.storage.pretrained import loading

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 4}
"""Bytes of a number, by data type."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The sizes of a model.

    Attributes:
        weights: the number of parameters; shared ones count once.
        linear: (inputs, outputs) of each linear layer except the output layer.
        width: of the hidden state.
        head: width of an attention head.
    """

    weights: int
    linear: tuple[tuple[int, int], ...]
    layers: int
    width: int
    feed_forward: int
    heads: int
    key_heads: int
    head: int
    vocabulary: int

    def trainable(self, rank: int | None) -> int:
        """The number of trainable parameters: all, or those of low-rank matrices of that rank."""
        return self.weights if rank is None else sum(rank * (i + o) for i, o in self.linear)

    @property
    def state_bytes(self) -> int:
        """Bytes of a token's keys and values in float32, all layers together."""
        return 4 * 2 * self.layers * self.key_heads * self.head

    def activation_bytes(self, columns: float, precision: str, *, checkpointing: bool) -> float:
        """Bytes of activations that the backward pass keeps, for that many columns in all rows."""
        low = BYTES[precision]
        # Norms keep their inputs and outputs in float32; matrix products keep their inputs.
        norms = 4 * 4 * self.width
        casts = 3 * self.width if low < 4 else 0  # each product rounds its input for itself
        products = 2 * self.width + casts + 4 * self.feed_forward
        attention = 3 * self.heads * self.head + 2 * self.key_heads * self.head
        layer = norms + low * (products + attention)
        residual = 4 * self.width * self.layers
        return columns * (residual + layer if checkpointing else layer * self.layers)


def size_of(config: PretrainedConfig) -> ModelSize:
    """Build the model on the meta device, which takes no memory, and count.

    Raises:
        ConfigError: transformers cannot build it, or it does not continue texts.
    """
    with loading("the model", config.name_or_path or "the policy"), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    config = config.get_text_config()
    heads = config.num_attention_heads
    return ModelSize(
        weights=sum(parameter.numel() for parameter in model.parameters()),
        linear=tuple(
            (layer.in_features, layer.out_features)
            for layer in model.modules()
            if isinstance(layer, torch.nn.Linear) and layer is not head
        ),
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        feed_forward=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        heads=heads,
        key_heads=getattr(config, "num_key_value_heads", None) or heads,
        head=getattr(config, "head_dim", None) or config.hidden_size // heads,
        vocabulary=config.vocab_size,
    )
