"""What an update needs to know of other models, measured once before it starts.

Where the policy starts from its reference, the weights that give these numbers are gone after the
first step.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from training.config import Precision, UpdateConfig
from training.learning.attention import row_attention
from training.learning.packing import columns, measure, pack
from training.learning.passes import brought_to, mode, move
from training.methods.objectives.base import Measured
from training.methods.records import Example


@dataclass(frozen=True, slots=True)
class Reference:
    """Log-probs under the reference; one entry an example.

    Attributes:
        logps: of the loss tokens of each branch, summed, nats; (branches,).
        turn_logps: the same by own turn, 0 behind the last one; (branches, turns). Empty where
            nobody measured them.
        anchor_logps: as `logps`, under the first policy; empty where no objective asks for it.
        strangers: each example's trunk with a reply of the next example behind it; those that
            are too long are left out (None). Empty where no objective asks for it.
        stranger_logps: as `logps`, of `strangers`.
        model: the reference itself, where an objective asks for a KL.
    """

    logps: Sequence[Tensor]
    turn_logps: Sequence[Tensor] = ()
    anchor_logps: Sequence[Tensor] = ()
    strangers: Sequence[Example | None] = ()
    stranger_logps: Sequence[Tensor] = ()
    model: PreTrainedModel | None = None


def consult(
    model: PreTrainedModel,
    examples: Sequence[Example],
    *,
    token_budget: int = 8192,
    need: Measured | None = None,
    anchor: PreTrainedModel | None = None,
    precision: Precision = "float32",
    device: torch.device | None = None,
) -> Reference:
    """Ask the reference about the examples.

    Args:
        need: what the objective wants beside log-probs (`training.methods.objectives.NEEDS`).
        anchor: the policy that is never refreshed, for the need "anchor".
        precision: that of the update, so that rounding cancels in log-ratios.
        device: where models are brought while they are asked; None leaves them where they are.
    """
    strangers: list[Example | None] = []
    if need == "mismatched":
        strangers = [s if columns(s) <= token_budget else None for s in mismatch(examples)]
    with brought_to(model, device):
        measured = _measure_all(model, examples, token_budget, precision)
        stranger_logps = _of_some(model, strangers, token_budget, precision)
    anchor_logps: list[Tensor] = []
    if need == "anchor":
        assert anchor is not None  # the caller knows the need
        with brought_to(anchor, device):
            measured_too = _measure_all(anchor, examples, token_budget, precision)
        anchor_logps = [logps for logps, _ in measured_too]
    return Reference(
        logps=[logps for logps, _ in measured],
        turn_logps=[turn_logps for _, turn_logps in measured],
        anchor_logps=anchor_logps,
        strangers=strangers,
        stranger_logps=stranger_logps,
        model=move(copy.deepcopy(model), device).requires_grad_(False) if need == "kl" else None,
    )


def reference_logps(
    model: PreTrainedModel, examples: Sequence[Example], *, token_budget: int = 8192
) -> list[Tensor]:
    """Log-probs of the loss tokens of each branch, summed, nats; one tensor (branches,) an example.

    Computed once before an update: where the policy starts from its reference, the weights that
    give these numbers are gone after the first step.
    """
    return list(consult(model, examples, token_budget=token_budget).logps)


def mismatch(examples: Sequence[Example]) -> list[Example]:
    """Each trunk with one branch of the next example; of all kinds of branches in turn."""
    following = [*examples[1:], *examples[:1]]
    return [
        Example(
            f"{here.group_id} mismatched",
            here.trunk_ids,
            (there.branches[number % len(there.branches)],),
        )
        for number, (here, there) in enumerate(zip(examples, following, strict=True))
    ]


def stranger_log_ratios(
    model: PreTrainedModel, reference: Reference, indices: Sequence[int], config: UpdateConfig
) -> Tensor:
    """log(policy / reference) of the mismatched replies of these examples, shape (M,)."""
    chosen = [reference.strangers[index] for index in indices]
    logps = _of_some(model, chosen, config.token_budget, config.precision)
    ratios = [
        logp - reference.stranger_logps[index] for logp, index in zip(logps, indices, strict=True)
    ]
    return torch.cat(ratios) if any(len(ratio) for ratio in ratios) else torch.zeros(1)


def _of_some(
    model: PreTrainedModel,
    examples: Sequence[Example | None],
    token_budget: int,
    precision: Precision,
) -> list[Tensor]:
    """Summed log-probs; an empty tensor where there is no example."""
    there = [index for index, example in enumerate(examples) if example is not None]
    given = [example for example in examples if example is not None]
    measured = _measure_all(model, given, token_budget, precision)
    logps = [torch.empty(0)] * len(examples)
    for index, (found, _) in zip(there, measured, strict=True):
        logps[index] = found
    return logps


def _measure_all(
    model: PreTrainedModel, examples: Sequence[Example], token_budget: int, precision: Precision
) -> list[tuple[Tensor, Tensor]]:
    """(summed log-probs, log-probs by turn) of each example, on the CPU, without gradient."""
    found: list[tuple[Tensor, Tensor]] = [(torch.empty(0), torch.empty(0))] * len(examples)
    with mode(model, training=False), row_attention(model), torch.no_grad():
        for batch in pack(examples, token_budget):
            sizes = [len(examples[index].branches) for index in batch.example_indices]
            measured = measure(model, batch, precision=precision)
            logps = torch.split(measured.logps_B.cpu(), sizes)
            turns = torch.split(measured.turn_logps_BT.cpu(), sizes)
            for index, own, own_turns in zip(batch.example_indices, logps, turns, strict=True):
                found[index] = (own, own_turns)
    return found
