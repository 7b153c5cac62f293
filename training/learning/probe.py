"""Measures, before anything is learned, whether a model's updates would learn from its own numbers.

Updates compute log-probs in their own way: the branches of a group share one row under a mask of
ours (`packing`), and logits are projected by the head alone, some at a time (`logits`). For models
that do more (attend to a window, carry a state from column to column, cap or scale their logits)
that may be another model. No list of architectures could be complete, so each model is measured.

Axis suffixes: `_T` columns, `_V` vocabulary.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from envs.errors import FOREIGN_FAULTS, TrainingError, in_one_line
from training.learning.attention import row_attention
from training.learning.packing import columns, measure, pack
from training.learning.passes import deterministic
from training.methods.records import BranchTokens, Example

TOLERANCE_NATS = 1e-3
"""The most that a branch's log-prob, or a logit, may differ from the model's own."""

_BRANCH = 8
_LARGE_LOGIT = 100.0
"""Trained models have logits of that size; a cap is hardly felt by the small ones of others."""


def check_trainable(model: PreTrainedModel, token_budget: int) -> None:
    """Check that updates see the log-probs that the model itself gives.

    Args:
        token_budget: columns of an update's pass: no sequence of a run is longer.

    Raises:
        TrainingError: they do not; the message says by how much.
    """
    name = type(model).__name__
    try:
        with deterministic(model), torch.no_grad():
            logit_gap, row_gap = _logit_gap(model), _row_gap(model, token_budget)
    except FOREIGN_FAULTS as error:
        raise TrainingError(
            f"{name} cannot be trained: it fails on the packed rows that updates are made of "
            f"({type(error).__name__}: {in_one_line(error)}); {_ADVICE}."
        ) from error
    if not logit_gap <= TOLERANCE_NATS:
        raise TrainingError(
            f"{name} cannot be trained: it caps or scales its logits, which differ by "
            f"{logit_gap:.2g} from the plain projections that updates compute (at most "
            f"{TOLERANCE_NATS:g} is allowed); {_ADVICE}."
        )
    if not row_gap <= TOLERANCE_NATS:
        raise TrainingError(
            f"{name} cannot be trained: where branches share a row, their log-probs differ by "
            f"{row_gap:.2g} nats from those of separate sequences (at most {TOLERANCE_NATS:g} is "
            "allowed), as with attention that is limited to a window shorter than "
            f"update.token_budget={token_budget}, or with recurrent layers; {_ADVICE}."
        )


_ADVICE = "use a model with full attention and plain logits, such as those of the Llama kind"


def _row_gap(model: PreTrainedModel, token_budget: int) -> float:
    """The largest difference of two branches in one row from themselves in rows of their own."""
    example = _example(model, token_budget)
    (batch,) = pack([example], columns(example))
    with row_attention(model):
        packed_B = measure(model, batch).logps_B.cpu()
    alone_B = torch.tensor([_alone(model, example.trunk_ids, b) for b in example.branches])
    return float((packed_B - alone_B).abs().max())


def _example(model: PreTrainedModel, token_budget: int) -> Example:
    """Two branches behind a trunk, as long as examples of a run may get."""
    config = model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None) or token_budget
    trunk = max(1, min(token_budget - 2 * _BRANCH, positions - _BRANCH))
    rng = random.Random(0)
    first, second = ([rng.randrange(config.vocab_size) for _ in range(_BRANCH)] for _ in "ab")
    return Example(
        "probe",
        tuple(rng.randrange(config.vocab_size) for _ in range(trunk)),
        tuple(BranchTokens(tuple(ids), (True,) * _BRANCH, 0.5) for ids in (first, second)),
    )


def _alone(model: PreTrainedModel, trunk_ids: tuple[int, ...], branch: BranchTokens) -> float:
    """A branch's log-prob by the model's own forward pass, nats."""
    ids_T = torch.tensor([*trunk_ids, *branch.token_ids], device=model.device)
    logits = model(input_ids=ids_T[None], use_cache=False, logits_to_keep=_BRANCH + 1).logits
    logps_TV: Tensor = logits[0, -_BRANCH - 1 : -1].float().log_softmax(-1)
    return float(logps_TV.gather(1, ids_T[-_BRANCH:, None]).sum())


def _logit_gap(model: PreTrainedModel) -> float:
    """How far log-probs lie from those of the head alone, where logits are large."""
    head: nn.Module = model.get_output_embeddings()
    seen: list[Tensor] = []

    def enlarge(decoder: nn.Module, given: object, output: object) -> object:
        hidden: Tensor = output.last_hidden_state  # type: ignore[attr-defined]
        seen.append(hidden * (_LARGE_LOGIT / head(hidden).abs().max().clamp_min(1e-6)))
        output.last_hidden_state = seen[0]  # type: ignore[attr-defined]
        return output

    ids = torch.arange(4, device=model.device)[None] % model.config.get_text_config().vocab_size
    with model.get_decoder().register_forward_hook(enlarge):
        own = model(input_ids=ids, use_cache=False).logits
    gap = own.float().log_softmax(-1) - head(seen[0]).float().log_softmax(-1)
    return float(gap.abs().max())
