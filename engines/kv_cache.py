"""The KV cache of dialogues under way, so that a prompt's known prefix is not encoded again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig
from transformers.cache_utils import Cache, DynamicLayer

BATCH_BYTES = 3 << 30
"""The most that a batch's keys and values take."""

PREFIX_BYTES = 4 << 30
"""The most that is kept of dialogues under way; with less than they need, all is encoded again."""


def state_bytes(config: PretrainedConfig, number_bytes: int) -> int:
    """Count the bytes of one token's keys and values in all layers.

    Args:
        number_bytes: of each number: 4 in float32.
    """
    config = config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    return int(2 * config.num_hidden_layers * key_heads * size * number_bytes)


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """The keys and values of `length` tokens, shape (2 * layers, heads, length, head size)."""

    length: int
    states: Tensor


class PrefixCache:
    """Keys and values of token sequences; the least recently used are dropped first.

    Args:
        capacity_bytes: the most memory that it takes.
    """

    def __init__(self, capacity_bytes: int = PREFIX_BYTES) -> None:
        self._capacity_bytes = capacity_bytes
        self._bytes = 0
        self._entries: OrderedDict[tuple[int, ...], CachedPrefix] = OrderedDict()
        self._lengths: dict[int, int] = {}  # how many sequences have that length

    def longest_prefix(self, prompt_ids: tuple[int, ...]) -> CachedPrefix | None:
        """The longest cached sequence that is a proper prefix of `prompt_ids`."""
        for length in sorted(self._lengths, reverse=True):
            if length < len(prompt_ids) and (cached := self._entries.get(prompt_ids[:length])):
                self._entries.move_to_end(prompt_ids[:length])
                return cached
        return None

    def add(self, token_ids: tuple[int, ...], states: Tensor) -> None:
        """Store the keys and values of a token sequence."""
        if token_ids in self._entries:
            return
        self._entries[token_ids] = CachedPrefix(len(token_ids), states)
        self._lengths[len(token_ids)] = self._lengths.get(len(token_ids), 0) + 1
        self._bytes += states.nbytes
        while self._bytes > self._capacity_bytes:
            old, dropped = self._entries.popitem(last=False)
            self._bytes -= dropped.states.nbytes
            self._lengths[len(old)] -= 1
            if not self._lengths[len(old)]:
                del self._lengths[len(old)]

    def clear(self) -> None:
        """Drop everything: the weights have changed, or batches must not depend on the past."""
        self._entries.clear()
        self._lengths.clear()
        self._bytes = 0


class GrowingLayer(DynamicLayer):
    """A cache layer with spare room, into which new tokens are written without copying old ones.

    A `DynamicLayer` copies all keys and values for every token, which takes most of a small model's
    step.
    """

    spare = 32
    """Tokens that fit before everything must be copied."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._buffer: Tensor | None = None  # (2, rows, heads, length and spare, head size)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add tokens, both (rows, heads, new, head size); returns all keys and values."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if self._buffer is None or end > self._buffer.shape[-2]:
            rows, heads, _, size = key_states.shape
            buffer = key_states.new_empty(2, rows, heads, end + self.spare, size)
            if self._buffer is not None:
                buffer[..., :start, :] = self._buffer[..., :start, :]
            self._buffer = buffer
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self._buffer[0, ..., start:end, :] = key_states
        self._buffer[1, ..., start:end, :] = value_states
        return self._visible(end)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows only, or repeat some."""
        if self._buffer is None:
            return
        length, chosen = self.get_seq_length(), indices.tolist()
        if all(before < after for before, after in pairwise(chosen)):
            # Rows move up into the gaps: a copy of the whole buffer would take most of a step.
            for place, row in enumerate(chosen):
                if place != row:
                    self._buffer[:, place] = self._buffer[:, row]
            self._buffer = self._buffer[:, : len(chosen)]
        else:
            self._buffer = self._buffer.index_select(1, indices)
        self._visible(length)

    def _visible(self, length: int) -> tuple[Tensor, Tensor]:
        assert self._buffer is not None
        self.keys, self.values = keys, values = self._buffer[..., :length, :]
        return keys, values


def join_prefixes(rows: Sequence[CachedPrefix | None]) -> tuple[Cache, Tensor]:
    """Join cached prefixes into one left-padded batch.

    Returns:
        A cache of all rows and its mask (B, W), 1 where a token is; W is 0 if nothing is cached.
    """
    cache = Cache(layer_class_to_replicate=GrowingLayer)
    width = max((cached.length for cached in rows if cached), default=0)
    mask_BW = torch.zeros(len(rows), width, dtype=torch.long)
    example = next((cached.states for cached in rows if cached), None)
    if example is None:
        return cache, mask_BW
    layers2, heads, _, size = example.shape
    for row, cached in enumerate(rows):
        if cached:
            mask_BW[row, width - cached.length :] = 1
    # Layer by layer: all of them beside their joined form would be twice as much memory.
    for layer in range(layers2 // 2):
        both = example.new_zeros(2, len(rows), heads, width, size)
        for row, cached in enumerate(rows):
            if cached:
                both[:, row, :, width - cached.length :] = cached.states[2 * layer : 2 * layer + 2]
        cache.update(both[0], both[1], layer)
    return cache, mask_BW


def split_prefixes(cache: Cache, rows: Tensor, mask_RT: Tensor) -> list[Tensor]:
    """Take some rows out of a batch without their padding, each as in `CachedPrefix.states`.

    Args:
        rows: which rows, shape (R,).
        mask_RT: 1 where those rows hold a token.

    Returns:
        An empty list where a layer does not hold all keys and values, as with sliding windows.
    """
    halves: list[Tensor] = []
    for layer in cache.layers:
        if type(layer) is not GrowingLayer or layer.keys is None or layer.values is None:
            return []
        halves += [layer.keys[rows], layer.values[rows]]
    states = torch.stack(halves)
    return [states[:, row][:, :, mask.bool()] for row, mask in enumerate(mask_RT)]
