"""Keys and values of streams that may go on, so that a dialogue is not encoded anew each turn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


@dataclass(frozen=True, slots=True)
class Kept:
    """The keys and values of `length` tokens, shape (2 * layers, heads, length, head size)."""

    length: int
    states: Tensor


class KeptStreams:
    """Finds the longest stream that a prompt continues; forgets the least recently used.

    Args:
        capacity_bytes: how much is kept at most.
    """

    def __init__(self, capacity_bytes: int = 1 << 30) -> None:
        self._capacity_bytes = capacity_bytes
        self._bytes = 0
        self._streams: OrderedDict[tuple[int, ...], Kept] = OrderedDict()
        self._lengths: dict[int, int] = {}  # how many streams have that length

    def longest(self, prompt_ids: tuple[int, ...]) -> Kept | None:
        """The longest kept stream that `prompt_ids` begins with and goes beyond."""
        for length in sorted(self._lengths, reverse=True):
            if length < len(prompt_ids) and (kept := self._streams.get(prompt_ids[:length])):
                self._streams.move_to_end(prompt_ids[:length])
                return kept
        return None

    def keep(self, token_ids: tuple[int, ...], states: Tensor) -> None:
        """Keep a stream's keys and values under its tokens."""
        if token_ids in self._streams:
            return
        self._streams[token_ids] = Kept(len(token_ids), states)
        self._lengths[len(token_ids)] = self._lengths.get(len(token_ids), 0) + 1
        self._bytes += states.nbytes
        while self._bytes > self._capacity_bytes:
            old, forgotten = self._streams.popitem(last=False)
            self._bytes -= forgotten.states.nbytes
            self._lengths[len(old)] -= 1
            if not self._lengths[len(old)]:
                del self._lengths[len(old)]

    def clear(self) -> None:
        """Forget everything: the weights have changed, or batches must not depend on the past."""
        self._streams.clear()
        self._lengths.clear()
        self._bytes = 0


class GrowingLayer(DynamicLayer):
    """Keys and values with room behind them: a new token is written, and what is there stays.

    A `DynamicLayer` copies all of them for every token, which takes most of a small model's step.
    """

    room = 32
    """Tokens that fit before all is copied."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._roomy: Tensor | None = None  # (2, rows, heads, length and room, head size)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add tokens, both (rows, heads, new, head size); all that are there now."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if self._roomy is None or end > self._roomy.shape[-2]:
            rows, heads, _, size = key_states.shape
            roomy = key_states.new_empty(2, rows, heads, end + self.room, size)
            if self._roomy is not None:
                roomy[..., :start, :] = self._roomy[..., :start, :]
            self._roomy = roomy
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self._roomy[0, ..., start:end, :] = key_states
        self._roomy[1, ..., start:end, :] = value_states
        return self._show(end)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Go on with some rows."""
        if self._roomy is not None:
            length = self.get_seq_length()
            self._roomy = self._roomy.index_select(1, indices)
            self._show(length)

    def _show(self, length: int) -> tuple[Tensor, Tensor]:
        assert self._roomy is not None
        self.keys, self.values = keys, values = self._roomy[..., :length, :]
        return keys, values


def assemble(rows: Sequence[Kept | None]) -> tuple[Cache, Tensor]:
    """Lay kept streams side by side, left-padded.

    Returns:
        A cache of all rows and its mask (B, W), 1 where a token is; W is 0 if nothing is kept.
    """
    cache = Cache(layer_class_to_replicate=GrowingLayer)
    width = max((kept.length for kept in rows if kept), default=0)
    mask_BW = torch.zeros(len(rows), width, dtype=torch.long)
    example = next((kept.states for kept in rows if kept), None)
    if example is None:
        return cache, mask_BW
    layers2, heads, _, size = example.shape
    states = example.new_zeros(layers2, len(rows), heads, width, size)
    for row, kept in enumerate(rows):
        if kept:
            states[:, row, :, width - kept.length :] = kept.states
            mask_BW[row, width - kept.length :] = 1
    for layer in range(layers2 // 2):
        cache.update(states[2 * layer], states[2 * layer + 1], layer)
    return cache, mask_BW


def extract(cache: Cache, rows: Tensor, mask_RT: Tensor) -> list[Tensor]:
    """The states of some rows of a cache without its padding, each as in `Kept.states`.

    Args:
        rows: which rows, shape (R,).
        mask_RT: 1 where those rows hold a token.

    Returns:
        Nothing where a layer keeps other than all keys and values, as sliding windows do.
    """
    halves: list[Tensor] = []
    for layer in cache.layers:
        if type(layer) is not GrowingLayer or layer.keys is None or layer.values is None:
            return []
        halves += [layer.keys[rows], layer.values[rows]]
    states = torch.stack(halves)
    return [states[:, row][:, :, mask.bool()] for row, mask in enumerate(mask_RT)]
