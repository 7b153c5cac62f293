"""Packed rows against plain concatenation: the same log-probs, the same gradients.

`test_attention.py` has the masks.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from envs.errors import TrainingError
from tests.tiny_models import random_llama
from training.learning import attention
from training.learning.attention import dense_mask, row_attention
from training.learning.packing import branch_logps, columns, pack
from training.methods.records import BranchTokens, Example

VOCABULARY = 23


def tiny_llama(dtype: torch.dtype, attention: str = "sdpa") -> LlamaForCausalLM:
    """A random Llama with grouped-query attention, far enough from uniform to notice a mistake."""
    model = random_llama(
        0,
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
        tie_word_embeddings=True,
        attn_implementation=attention,
    )
    return model.to(dtype)


def with_norms_in_full_precision(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Swap Llama's norms, which compute in float32 whatever the model's precision."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, LlamaRMSNorm):
                norm = nn.RMSNorm(child.weight.shape, eps=child.variance_epsilon)
                setattr(module, name, norm.to(child.weight.dtype))
    return model


FLOAT32 = tiny_llama(torch.float32)
FLOAT64 = with_norms_in_full_precision(tiny_llama(torch.float64))

tokens = st.integers(0, VOCABULARY - 1)


@st.composite
def branch_tokens(draw: st.DrawFn) -> BranchTokens:
    token_ids = tuple(draw(st.lists(tokens, min_size=1, max_size=6)))
    mask = [draw(st.booleans()) for _ in token_ids]
    mask[draw(st.integers(0, len(mask) - 1))] = True
    return BranchTokens(token_ids, tuple(mask), draw(st.sampled_from([0.0, 0.3, 0.5, 1.0])))


@st.composite
def trunks(draw: st.DrawFn, stem: tuple[int, ...]) -> tuple[int, ...]:
    """A piece of one dialogue, which may go on otherwise, or another dialogue."""
    kept = stem[: draw(st.integers(0, len(stem)))]
    return (*kept, *draw(st.lists(tokens, min_size=not kept, max_size=4)))


@st.composite
def example_lists(draw: st.DrawFn) -> list[Example]:
    """Up to five examples, some of whose trunks are prefixes of others, some branches twice."""
    stem = tuple(draw(st.lists(tokens, min_size=1, max_size=8)))
    made = []
    for number in range(draw(st.integers(1, 5))):
        branches = draw(st.lists(branch_tokens(), min_size=1, max_size=4))
        twice = draw(st.lists(st.sampled_from(branches), max_size=1))
        made.append(Example(str(number), draw(trunks(stem)), (*branches, *twice)))
    return made


examples = example_lists()


def alone(model: LlamaForCausalLM, trunk_ids: Sequence[int], branch: BranchTokens) -> Tensor:
    """The branch's log-prob from its own unpadded sequence trunk + branch, nothing shared."""
    ids = torch.tensor([[*trunk_ids, *branch.token_ids]])
    logps = model(input_ids=ids).logits[0].log_softmax(-1)
    places = [place for place, has_loss in enumerate(branch.loss_mask) if has_loss]
    return sum(  # type: ignore[return-value]
        logps[len(trunk_ids) + place - 1, branch.token_ids[place]] for place in places
    )


def concatenated(model: LlamaForCausalLM, given: Sequence[Example]) -> list[Tensor]:
    """One tensor (branches,) an example, each branch run alone."""
    return [
        torch.stack([alone(model, example.trunk_ids, branch) for branch in example.branches])
        for example in given
    ]


def packed(
    model: LlamaForCausalLM,
    given: Sequence[Example],
    token_budget: int = 10_000,
    merge_from: int = 1,
) -> list[Tensor]:
    """The same from packed rows, in the order of the examples."""
    found: dict[int, Tensor] = {}
    for batch in pack(given, token_budget, merge_from=merge_from):
        sizes = [len(given[index].branches) for index in batch.example_indices]
        parts = torch.split(branch_logps(model, batch), sizes)
        found |= dict(zip(batch.example_indices, parts, strict=True))
    assert sorted(found) == list(range(len(given)))
    return [found[index] for index in range(len(given))]


def loss_and_gradients(model: LlamaForCausalLM, logps: Sequence[Tensor]) -> list[Tensor]:
    """A loss that weighs every branch differently, and its gradient for every parameter."""
    all_logps = torch.cat(list(logps))
    weights = torch.arange(1, len(all_logps) + 1, dtype=all_logps.dtype) % 5 - 1.7
    loss = (all_logps * weights).sum() + (all_logps - 1).square().mean()
    return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]


def assert_same(found: Sequence[Tensor], wanted: Sequence[Tensor], relative: float) -> None:
    """Equal up to a part of the largest entry of each tensor.

    Where that is nothing but rounding (one key to attend to leaves queries without gradient), a
    tenth of the largest entry of all is the measure.
    """
    least = max(float(tensor.abs().max()) for tensor in wanted) / 10
    for one, other in zip(found, wanted, strict=True):
        size = max(least, float(other.abs().max()))
        assert_close(one, other, rtol=0, atol=relative * size)


EXACTNESS = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@pytest.mark.parametrize(
    ("model", "relative"),
    [
        pytest.param(FLOAT32, 1e-5, id="float32"),
        pytest.param(FLOAT64, 1e-12, id="float64"),
    ],
)
@EXACTNESS
@given(given_examples=examples, slack=st.integers(0, 60), merge_from=st.integers(1, 5))
def test_loss_and_gradients_are_those_of_concatenation(
    model: LlamaForCausalLM,
    relative: float,
    given_examples: list[Example],
    slack: int,
    merge_from: int,
) -> None:
    wanted = loss_and_gradients(model, concatenated(model, given_examples))
    budget = max(columns(example) for example in given_examples) + slack
    found = loss_and_gradients(model, packed(model, given_examples, budget, merge_from))
    assert_same(found, wanted, relative)


@EXACTNESS
@given(given_examples=examples, merge_from=st.integers(1, 5), band=st.integers(1, 8))
def test_bands_of_wide_rows_change_nothing(
    given_examples: list[Example], merge_from: int, band: int
) -> None:
    wanted = loss_and_gradients(FLOAT64, concatenated(FLOAT64, given_examples))
    with pytest.MonkeyPatch.context() as patch, row_attention(FLOAT64):
        patch.setattr(attention, "_BAND", band)
        found = loss_and_gradients(FLOAT64, packed(FLOAT64, given_examples, merge_from=merge_from))
    assert_same(found, wanted, 1e-12)


@EXACTNESS
@given(given_examples=examples, data=st.data())
def test_order_and_company_do_not_matter(
    given_examples: list[Example], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(given_examples))))
    together = packed(FLOAT64, given_examples)
    shuffled = packed(FLOAT64, [given_examples[index] for index in order])
    for place, index in enumerate(order):
        assert_close(shuffled[place], together[index], rtol=1e-12, atol=1e-12)
    for example, logps in zip(given_examples, together, strict=True):
        assert_close(packed(FLOAT64, [example])[0], logps, rtol=1e-12, atol=1e-12)


@EXACTNESS
@given(given_examples=examples, slack=st.integers(0, 60), merge_from=st.integers(1, 5))
def test_batches_keep_to_the_budget_and_place_every_example_once(
    given_examples: list[Example], slack: int, merge_from: int
) -> None:
    budget = max(columns(example) for example in given_examples) + slack
    batches = pack(given_examples, budget, merge_from=merge_from)
    placed = [index for batch in batches for index in batch.example_indices]
    assert sorted(placed) == list(range(len(given_examples)))
    for batch in batches:
        assert batch.input_ids_RT.numel() <= budget
        assert batch.tokens <= batch.concatenated_tokens
    assert sum(batch.tokens for batch in batches) <= sum(map(columns, given_examples))


@EXACTNESS
@given(given_examples=examples)
def test_with_room_each_beginning_of_a_trunk_is_encoded_once(
    given_examples: list[Example],
) -> None:
    beginnings = {
        example.trunk_ids[:size]
        for example in given_examples
        for size in range(1, len(example.trunk_ids) + 1)
    }
    branches = sum(columns(example) - len(example.trunk_ids) for example in given_examples)
    (batch,) = pack(given_examples, 10_000, merge_from=1)
    assert batch.tokens == len(beginnings) + branches


LONG = Example(
    "long",
    (5, 6, 7),
    (
        BranchTokens((1, 2, 3, 9), (True, False, True, False), 1.0),
        BranchTokens((4, 8), (False, True), 0.0),
    ),
)
SHORT = Example("short", (11,), (BranchTokens((12, 13), (True, True), 0.5),))
"""Six and two columns: nothing after a last loss token is needed, nor that token itself."""


def test_a_block_by_hand() -> None:
    (batch,) = pack([LONG], token_budget=6)
    assert batch.input_ids_RT.tolist() == [[5, 6, 7, 1, 2, 4]]
    assert batch.position_ids_RT.tolist() == [[0, 1, 2, 3, 4, 3]]
    # the trunk is seen to the end, the first branch by itself alone
    assert batch.until_RT.tolist() == [[6, 6, 6, 5, 5, 6]]
    # 7 predicts 1; 2 predicts 3; 4 predicts 8
    assert batch.predictor_N.tolist() == [2, 4, 5]
    assert batch.target_ids_N.tolist() == [1, 3, 8]
    assert batch.branch_N.tolist() == [0, 0, 1]
    assert batch.loss_tokens_B.tolist() == [2, 1]
    assert batch.win_prob_B.tolist() == [1.0, 0.0]
    # separate sequences would be 5 6 7 1 2 and 5 6 7 4
    assert (batch.tokens, batch.concatenated_tokens) == (6, 9)


def test_the_end_of_the_trunk_predicts_the_first_token_of_every_branch() -> None:
    first = BranchTokens((1,), (True,), 1.0)
    (batch,) = pack([Example("g", (5, 6), (first, first, first))], token_budget=100)
    assert batch.input_ids_RT.tolist() == [[5, 6]]
    assert batch.predictor_N.tolist() == [1, 1, 1]
    assert batch.branch_N.tolist() == [0, 1, 2]


LATER = Example("later", (5, 6, 7, 1), (BranchTokens((2, 4), (False, True), 1.0),))
ELSEWHERE = Example("elsewhere", (5, 6, 8), (BranchTokens((2,), (True,), 0.0),))


def test_nested_trunks_by_hand() -> None:
    (batch,) = pack([LATER, ELSEWHERE, LONG], token_budget=9, merge_from=2)
    # in the order of their trunks: LONG's, LATER's which goes on from it, then 5 6 8
    assert batch.example_indices == (2, 0, 1)
    assert batch.input_ids_RT.tolist() == [[5, 6, 7, 1, 2, 4, 1, 2, 8]]
    assert batch.position_ids_RT.tolist() == [[0, 1, 2, 3, 4, 3, 3, 4, 2]]
    # 5 and 6 are seen by all, 7 by all that continues it
    assert batch.until_RT.tolist() == [[9, 9, 8, 5, 5, 6, 8, 8, 9]]
    # LONG's as alone; 2 predicts LATER's 4; 8 predicts ELSEWHERE's 2
    assert batch.predictor_N.tolist() == [2, 4, 5, 7, 8]
    assert batch.branch_N.tolist() == [0, 0, 1, 2, 3]
    # separate sequences: 5 + 4 of LONG, 5 6 7 1 2, and 5 6 8
    assert (batch.tokens, batch.concatenated_tokens) == (9, 17)


def test_trunks_that_share_too_little_stay_apart() -> None:
    (batch,) = pack([LATER, ELSEWHERE, LONG], token_budget=18, merge_from=3)
    # LONG and LATER share three tokens, ELSEWHERE two with either
    assert batch.example_indices == (2, 0, 1)
    assert batch.input_ids_RT.tolist() == [[5, 6, 7, 1, 2, 4, 1, 2], [5, 6, 8, *[0] * 5]]


def test_a_tree_that_exceeds_the_budget_is_cut() -> None:
    batches = pack([LATER, LONG], token_budget=7, merge_from=2)
    assert [batch.example_indices for batch in batches] == [(1,), (0,)]
    assert [batch.tokens for batch in batches] == [6, 5]


def test_a_branch_that_comes_twice_is_encoded_once() -> None:
    chosen, rejected = LONG.branches
    other = BranchTokens((9, 8), (False, True), 0.0)
    twice = Example("tree", LONG.trunk_ids, (chosen, rejected, chosen, other))
    (batch,) = pack([twice], token_budget=100)
    assert batch.input_ids_RT.tolist() == [[5, 6, 7, 1, 2, 4, 9]]
    assert batch.predictor_N.tolist() == [2, 4, 5, 2, 4, 6]
    assert batch.branch_N.tolist() == [0, 0, 1, 2, 2, 3]


def test_the_mask_by_hand() -> None:
    (batch,) = pack([LONG], token_budget=6)
    seen = dense_mask(batch.until_RT, torch.float32)[0, 0] == 0
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0, 1],  # the second branch sees the trunk and itself, not the first branch
    ]


def test_short_examples_fill_a_row_and_then_open_the_next() -> None:
    batches = pack([SHORT, LONG, SHORT, SHORT, SHORT], token_budget=13)
    # width 6: the long one is a row of its own, three short ones are another, one waits
    assert [batch.example_indices for batch in batches] == [(1, 0, 2, 3), (4,)]
    assert batches[0].input_ids_RT.tolist() == [[5, 6, 7, 1, 2, 4], [11, 12] * 3]
    assert batches[0].until_RT.tolist()[1] == [2, 2, 4, 4, 6, 6]
    assert batches[0].position_ids_RT.tolist() == [[0, 1, 2, 3, 4, 3], [0, 1] * 3]
    assert batches[0].predictor_N.tolist() == [2, 4, 5, 6, 7, 8, 9, 10, 11]
    assert batches[1].input_ids_RT.tolist() == [[11, 12]]


def test_padding_is_finite_and_harmless() -> None:
    (batch,) = pack([LONG, SHORT], token_budget=12)
    assert batch.until_RT.tolist()[1] == [2, 2, 3, 4, 5, 6]
    mask_QK = dense_mask(batch.until_RT, torch.float64)[1, 0]
    assert (mask_QK.diagonal() == 0).all()
    found = loss_and_gradients(FLOAT64, packed(FLOAT64, [LONG, SHORT], 12))
    assert all(torch.isfinite(tensor).all() for tensor in found)
    wanted = loss_and_gradients(FLOAT64, concatenated(FLOAT64, [LONG, SHORT]))
    assert_same(found, wanted, 1e-12)


def test_a_branch_draws_gradient_from_its_trunk_and_itself_only() -> None:
    (batch,) = pack([LONG, SHORT], token_budget=12)
    embedded: list[Tensor] = []
    hook = FLOAT64.get_input_embeddings().register_forward_hook(
        lambda _module, _inputs, output: embedded.append(output)
    )
    logps_B = branch_logps(FLOAT64, batch)
    hook.remove()
    for number, feeding in enumerate([[0, 1, 2, 3, 4], [0, 1, 2, 5], [6, 7]]):
        (found,) = torch.autograd.grad(logps_B[number], embedded[0], retain_graph=True)
        fed = found.flatten(0, 1).abs().sum(-1).nonzero().flatten().tolist()
        assert fed == feeding


def test_only_loss_positions_are_projected() -> None:
    projected: list[torch.Size] = []
    hook = FLOAT64.get_output_embeddings().register_forward_hook(
        lambda _module, inputs, _output: projected.append(inputs[0].shape)
    )
    (batch,) = pack([LONG, SHORT], token_budget=12)
    branch_logps(FLOAT64, batch)
    hook.remove()
    assert projected == [(5, 32)]


def test_a_token_outside_the_mask_is_not_a_target() -> None:
    def with_partner_token(token_id: int) -> Example:
        branch = BranchTokens((1, token_id, 3), (True, False, False), 1.0)
        return Example("g", (5, 6), (branch,))

    first, second = (packed(FLOAT64, [with_partner_token(token_id)])[0] for token_id in (2, 17))
    assert torch.equal(first, second)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_every_attention_that_takes_a_mask_agrees(attention: str) -> None:
    model = tiny_llama(torch.float32, attention)
    rng = random.Random(3)
    given_examples = [
        Example(
            "g",
            tuple(rng.randrange(VOCABULARY) for _ in range(size)),
            tuple(
                BranchTokens(tuple(rng.randrange(VOCABULARY) for _ in range(5)), (True,) * 5, 0.5)
                for _ in range(3)
            ),
        )
        for size in (9, 2, 4)
    ]
    wanted = loss_and_gradients(model, concatenated(model, given_examples))
    assert_same(loss_and_gradients(model, packed(model, given_examples, 60)), wanted, 1e-5)


def test_half_precision_is_summed_in_single() -> None:
    model = copy.deepcopy(FLOAT32).to(torch.bfloat16)
    (batch,) = pack([LONG], token_budget=6)
    found = branch_logps(model, batch)
    assert found.dtype == torch.float32
    # not a multiple of bfloat16's step at that size: the softmax was not taken in bfloat16
    assert not torch.equal(found, found.to(torch.bfloat16).float())


def test_nothing_packs_to_nothing() -> None:
    assert pack([], token_budget=1) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: Example("bad", (), LONG.branches), "0 trunk tokens and 2 branches"),
        (lambda: Example("bad", (1,), ()), "1 trunk tokens and 0 branches"),
        (
            lambda: Example("bad", (1,), (BranchTokens((1, 2), (True,), 1.0),)),
            "2 tokens and a loss mask of length 1",
        ),
        (
            lambda: Example("bad", (1,), (SHORT.branches[0], BranchTokens((1,), (False,), 1.0))),
            "Branch 1 of example 'bad' has 1 tokens and a loss mask of length 1 with 0 set",
        ),
        (lambda: Example("bad", tuple(range(8)), LONG.branches), "takes 11 tokens"),
    ],
)
def test_what_cannot_be_packed_is_refused(change: Callable[[], Example], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        pack([change()], token_budget=10)
