"""Cached keys and values: found by the longest prefix, joined and split without a change."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from engines.kv_cache import (
    CachedPrefix,
    GrowingLayer,
    PrefixCache,
    join_prefixes,
    shared_prefixes,
    split_prefixes,
)
from tests.tiny_models import random_llama

LAYERS, HEADS, SIZE = 2, 3, 4


def states(length: int, fill: float = 1.0) -> torch.Tensor:
    return torch.full((2 * LAYERS, HEADS, length, SIZE), fill)


def test_the_longest_stream_that_a_prompt_goes_beyond_is_found() -> None:
    streams = PrefixCache()
    for token_ids in ((5,), (5, 6), (5, 6, 7), (5, 9, 9, 9)):
        streams.add(token_ids, states(len(token_ids), fill=len(token_ids)))
    found = streams.longest_prefix((5, 6, 7, 8))
    assert found is not None
    assert found.length == 3
    same = streams.longest_prefix((5, 6, 7))  # nothing new to encode would leave no logits
    assert same is not None
    assert same.length == 2
    assert streams.longest_prefix((6, 5)) is None


def test_the_least_recently_used_stream_is_forgotten() -> None:
    streams = PrefixCache(capacity_bytes=3 * states(1).nbytes)
    streams.add((1,), states(1))
    streams.add((2,), states(1))
    assert streams.longest_prefix((1, 9)) is not None  # now (2,) is the oldest
    streams.add((3, 3), states(2))  # as much as two of one token
    assert streams.longest_prefix((2, 9)) is None
    assert streams.longest_prefix((1, 9)) is not None
    streams.clear()
    assert streams.longest_prefix((3, 3, 9)) is None


@given(lengths=st.lists(st.none() | st.integers(1, 6), min_size=1, max_size=5))
def test_what_is_assembled_can_be_extracted(lengths: list[int | None]) -> None:
    torch.manual_seed(0)
    rows = [
        None if n is None else CachedPrefix(n, torch.randn(2 * LAYERS, HEADS, n, SIZE))
        for n in lengths
    ]
    cache, mask = join_prefixes(rows)
    assert mask.sum(1).tolist() == [n or 0 for n in lengths]
    if mask.shape[1]:
        back = split_prefixes(cache, torch.arange(len(rows)), mask)
        for row, state in zip(rows, back, strict=True):
            if row is not None:
                assert_close(state, row.states, rtol=0, atol=0)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_rows_are_kept_or_repeated_and_go_on_growing(chosen: list[int]) -> None:
    """Whatever the order: rows that leave are closed up in place, repeated ones are copied."""
    keys, values = torch.randn(2, 5, HEADS, 3, SIZE), torch.randn(2, 5, HEADS, 3, SIZE)
    layer = GrowingLayer()
    layer.update(keys[0], values[0])
    layer.batch_select_indices(torch.tensor(chosen))
    rows = torch.tensor(chosen)
    more = keys[1][: len(chosen)], values[1][: len(chosen)]
    all_keys, all_values = layer.update(*more)
    assert_close(all_keys, torch.cat([keys[0][rows], more[0]], dim=-2), rtol=0, atol=0)
    assert_close(all_values, torch.cat([values[0][rows], more[1]], dim=-2), rtol=0, atol=0)


def test_what_prompts_begin_with_together_is_found() -> None:
    prompts = [(1, 2, 3, 4, 5), (9,), (1, 2, 3, 7), (1, 2, 3, 4), (8, 8, 1), (8, 8, 2), (8, 7)]
    assert list(shared_prefixes(prompts, 2)) == [((1, 2, 3), 3), ((8, 8), 2)]
    assert list(shared_prefixes(prompts, 3)) == [((1, 2, 3), 3)]
    assert list(shared_prefixes(prompts, 4)) == []
    assert list(shared_prefixes([(5, 6, 7)] * 3, 1)) == [], "equal prompts are encoded once anyway"
    assert list(shared_prefixes([(5, 6), (5, 6, 7)], 1)) == [((5,), 2)], "never a whole prompt"


@given(st.lists(st.lists(st.integers(0, 1), max_size=6).map(tuple), max_size=8))
def test_shared_beginnings_are_shared_by_as_many_as_said(prompts: list[tuple[int, ...]]) -> None:
    found = list(shared_prefixes(prompts, 2))
    for prefix, count in found:
        having = {p for p in prompts if p[: len(prefix)] == prefix and len(p) > len(prefix)}
        assert len(having) >= count >= 2
    assert sum(count for _, count in found) <= len(set(prompts))


def test_a_kept_prefix_gives_the_logits_of_a_plain_pass() -> None:
    model = random_llama(0, vocab_size=20, num_hidden_layers=LAYERS, initializer_range=0.5).eval()
    ids = torch.tensor([[3, 4, 5, 6, 7, 8]])
    with torch.no_grad():
        plain = model(ids)
        first = model(ids[:, :4], past_key_values=join_prefixes([None])[0])
        kept = CachedPrefix(
            4, split_prefixes(first.past_key_values, torch.tensor([0]), torch.ones(1, 4))[0]
        )
        cache, mask = join_prefixes([kept])
        rest = model(
            input_ids=ids[:, 4:],
            attention_mask=torch.cat([mask, torch.ones(1, 2, dtype=torch.long)], dim=1),
            position_ids=torch.tensor([[4, 5]]),
            past_key_values=cache,
        )
    assert_close(rest.logits, plain.logits[:, 4:], rtol=1e-4, atol=1e-4)
