"""Masks of packed rows: the dense one, FlexAttention's and bands say the same."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

from tests.training.learning.test_packing import FLOAT32, LONG, SHORT, tiny_llama
from training.learning import attention
from training.learning.attention import block_mask, dense_mask, mask_of, row_attention
from training.learning.packing import branch_logps, pack

ROWS = torch.tensor([[6, 6, 6, 5, 5, 6], [2, 2, 4, 4, 5, 6]])
"""A trunk of three with branches of two and of one; two trees of two, and padding."""


@st.composite
def untils(draw: st.DrawFn) -> Tensor:
    """Rows of one width, depth first: each column is seen no longer than what it continues."""

    def row(start: int, end: int) -> list[int]:
        if start == end:
            return []
        until = draw(st.integers(start + 1, end))
        return [until, *row(start + 1, until), *row(until, end)]

    width = draw(st.integers(1, 20))
    return torch.tensor([row(0, width) for _ in range(draw(st.integers(1, 3)))])


def heads(until_RT: Tensor) -> list[Tensor]:
    """Random queries, keys and values: two heads of four numbers, float64."""
    shape = (len(until_RT), 2, until_RT.shape[1], 4)
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3)]
    return [tensor.requires_grad_() for tensor in made]


def with_gradients(output: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    weights = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view(output.shape)
    return [output, *torch.autograd.grad((output * weights).sum(), inputs)]


def test_the_dense_mask_by_hand() -> None:
    seen = dense_mask(ROWS, torch.float32)[1, 0] == 0
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@settings(deadline=None, max_examples=30, derandomize=True)
@given(until_RT=untils())
def test_flex_attention_sees_what_the_dense_mask_shows(until_RT: Tensor) -> None:
    inputs = [tensor.detach() for tensor in heads(until_RT)]  # on a CPU it has no backward pass
    mask = dense_mask(until_RT, torch.float64)
    wanted = scaled_dot_product_attention(*inputs, attn_mask=mask)
    found = flex_attention(*inputs, block_mask=block_mask(until_RT))
    assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_flex_attention_skips_what_nobody_sees() -> None:
    # two trees of 256 columns: two lower triangles of 2 x 2 blocks of 128, of 4 x 4
    until_RT = torch.tensor([[256] * 256 + [512] * 256])
    assert int(block_mask(until_RT).to_dense().sum()) == 6


@settings(deadline=None, max_examples=30, derandomize=True)
@given(until_RT=untils(), band=st.integers(1, 8))
def test_bands_give_what_one_piece_gives(until_RT: Tensor, band: int) -> None:
    inputs, module = heads(until_RT), torch.nn.Module()
    mask = dense_mask(until_RT, torch.float64)
    whole = scaled_dot_product_attention(*inputs, attn_mask=mask).transpose(1, 2)
    wanted = with_gradients(whole, inputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "_BAND", band)
        output, _ = attention._banded_sdpa(module, *inputs, mask)
    for one, other in zip(with_gradients(output, inputs), wanted, strict=True):
        assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_rows_of_two_bands_are_left_in_one_piece() -> None:
    (batch,) = pack([LONG, SHORT], token_budget=12)
    plain = branch_logps(FLOAT32, batch)
    with row_attention(FLOAT32):
        assert torch.equal(branch_logps(FLOAT32, batch), plain)


def test_the_attention_is_given_back_and_another_choice_is_kept() -> None:
    model = tiny_llama(torch.float32)
    with row_attention(model):
        assert model.config._attn_implementation == "banded_sdpa"
    assert model.config._attn_implementation == "sdpa"
    eager = tiny_llama(torch.float32, "eager")
    with row_attention(eager):
        assert eager.config._attn_implementation == "eager"


def test_the_mask_is_in_the_precision_of_the_scores() -> None:
    assert mask_of(FLOAT32, ROWS).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert mask_of(FLOAT32, ROWS).dtype == torch.bfloat16
