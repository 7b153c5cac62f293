"""Logits in chunks: gradients as in one piece, and never all logits in memory."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import LlamaForCausalLM

from tests.tiny_models import gradients, one_layer
from training.learning import logits
from training.learning.cloning import accumulate_gradient
from training.learning.demonstrations import Row
from training.learning.logits import in_chunks
from training.learning.packing import measure, pack
from training.methods.records import BranchTokens, Example

VOCABULARY = 19
ROWS = [
    Row((1, 4, 7, 2, 9, 3), (False, False, True, True, False, True)),
    Row((5, 8, 6, 2, 1), (False, True, True, False, True)),
]
PAIR = Example(
    "pair",
    (1, 2, 3),
    (BranchTokens((4, 5, 6), (True,) * 3, 1.0), BranchTokens((7, 8), (True,) * 2, 0.0)),
)


def cloning_loss(model: LlamaForCausalLM) -> None:
    accumulate_gradient(model, ROWS)


def branch_loss(model: LlamaForCausalLM) -> None:
    (batch,) = pack([PAIR], 100)
    measured = measure(model, batch)
    (measured.logps_B.square().sum() + measured.turn_logps_BT.sum()).backward()


def kl_loss(model: LlamaForCausalLM) -> None:
    (batch,) = pack([PAIR], 100)
    measured = measure(model, batch, kl_from=one_layer(2, vocabulary=VOCABULARY, positions=32))
    assert measured.kl_B is not None
    (measured.kl_B.square().sum() + measured.logps_B.sum()).backward()


@pytest.mark.parametrize("tokens", [1, 2, 3])
@pytest.mark.parametrize("loss", [cloning_loss, branch_loss, kl_loss])
def test_chunks_change_no_gradient(
    loss: Callable[[LlamaForCausalLM], None], tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = one_layer(1, vocabulary=VOCABULARY, positions=32)
    cut = copy.deepcopy(whole)
    loss(whole)
    monkeypatch.setattr(logits, "CHUNK_LOGITS", tokens * VOCABULARY)
    sizes: list[int] = []
    cut.get_output_embeddings().register_forward_hook(
        lambda module, given, made: sizes.append(len(made))
    )
    loss(cut)
    assert_close(gradients(cut), gradients(whole), rtol=1e-9, atol=1e-12)
    assert max(sizes) == tokens


def test_no_chunk_keeps_its_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logits, "CHUNK_LOGITS", 2 * VOCABULARY)
    head = torch.nn.Linear(4, VOCABULARY)
    hidden_ND, kept = torch.ones(6, 4, requires_grad=True), []

    def read(part_ND: Tensor) -> Tensor:
        logits_NV: Tensor = head(part_ND)
        return logits_NV.logsumexp(-1)

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        parts = in_chunks(read, VOCABULARY, hidden_ND)
    assert [len(part) for part in parts] == [2, 2, 2]
    assert max(kept, default=0) < 2 * VOCABULARY
    with torch.no_grad():
        assert_close(torch.cat(in_chunks(read, VOCABULARY, hidden_ND)), torch.cat(parts))
