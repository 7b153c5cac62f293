"""The reference pass: what other models say of the examples, measured once before an update.

It comes first because a policy often starts from its reference: the weights that give these numbers
are gone after the first step.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from training.config import Precision, UpdateConfig
from training.learning.attention import row_attention
from training.learning.packing import columns, measure, pack
from training.learning.passes import deterministic, move, on_device
from training.methods.objectives.types import Measurement
from training.methods.records import Example


@dataclass(frozen=True, slots=True)
class ReferenceTurns:
    """Log-probs of the reference by own turn; the measurement "turns".

    Attributes:
        logps: 0 behind the last turn; one tensor (branches, turns) an example.
    """

    logps: Sequence[Tensor]


@dataclass(frozen=True, slots=True)
class ReferenceModel:
    """A copy of the reference itself, to compute a KL from; the measurement "kl"."""

    model: PreTrainedModel


@dataclass(frozen=True, slots=True)
class Anchor:
    """Log-probs under the first policy, summed over loss tokens; the measurement "anchor".

    Attributes:
        logps: one tensor (branches,) an example.
    """

    logps: Sequence[Tensor]


@dataclass(frozen=True, slots=True)
class Mismatched:
    """Mismatched completions, KTO's KL baseline; the measurement "mismatched".

    Attributes:
        examples: each example's trunk with one branch of the next example; None where that is
            longer than the token budget.
        logps: log-prob of each completion under the reference; one tensor (1,) an example, or (0,)
            where there is none.
    """

    examples: Sequence[Example | None]
    logps: Sequence[Tensor]


@dataclass(frozen=True, slots=True)
class Reference:
    """What the reference says of the examples.

    Attributes:
        logps: log-probs of the loss tokens of each branch, summed, nats; one tensor (branches,) an
            example.
        measured: what the objective asked for beside them.
    """

    logps: Sequence[Tensor]
    measured: ReferenceTurns | ReferenceModel | Anchor | Mismatched | None = None


def reference_pass(
    model: PreTrainedModel,
    examples: Sequence[Example],
    *,
    token_budget: int = 8192,
    measures: Measurement | None = None,
    anchor: PreTrainedModel | None = None,
    precision: Precision = "float32",
    device: torch.device | None = None,
) -> Reference:
    """Run the reference on the examples, without gradient.

    Args:
        measures: what the objective wants beside log-probs (`ObjectiveSpec.measures`).
        anchor: the first policy, for the measurement "anchor".
        precision: that of the update, so that rounding cancels in log-ratios.
        device: where models are moved for the pass; None leaves them where they are.
    """
    mismatched: list[Example | None] = []
    if measures == "mismatched":
        fitting = mismatched_completions(examples)
        mismatched = [made if columns(made) <= token_budget else None for made in fitting]
    with on_device(model, device):
        found = _measure_all(model, examples, token_budget, precision)
        mismatched_logps = _measure_given(model, mismatched, token_budget, precision)
    reference = Reference(logps=[logps for logps, _ in found])
    match measures:
        case None:
            return reference
        case "turns":
            turns = ReferenceTurns([turn_logps for _, turn_logps in found])
            return replace(reference, measured=turns)
        case "mismatched":
            return replace(reference, measured=Mismatched(mismatched, mismatched_logps))
        case "kl":
            copied = move(copy.deepcopy(model), device).requires_grad_(False)
            return replace(reference, measured=ReferenceModel(copied))
        case "anchor":
            assert anchor is not None  # the caller knows what is measured
            with on_device(anchor, device):
                under_anchor = _measure_all(anchor, examples, token_budget, precision)
            return replace(reference, measured=Anchor([logps for logps, _ in under_anchor]))


def reference_logps(
    model: PreTrainedModel, examples: Sequence[Example], *, token_budget: int = 8192
) -> list[Tensor]:
    """Measure nothing but `Reference.logps`: one tensor (branches,) an example, nats."""
    return list(reference_pass(model, examples, token_budget=token_budget).logps)


def mismatched_completions(examples: Sequence[Example]) -> list[Example]:
    """Put one branch of the next example behind each trunk; all kinds of branches in turn."""
    following = [*examples[1:], *examples[:1]]
    return [
        Example(
            f"{example.group_id} mismatched",
            example.trunk_ids,
            (other.branches[number % len(other.branches)],),
        )
        for number, (example, other) in enumerate(zip(examples, following, strict=True))
    ]


def mismatched_log_ratios(
    model: PreTrainedModel, mismatched: Mismatched, indices: Sequence[int], config: UpdateConfig
) -> Tensor:
    """log(policy / reference) of the mismatched completions of these examples, shape (M,)."""
    given = [mismatched.examples[index] for index in indices]
    logps = _measure_given(model, given, config.token_budget, config.precision)
    ratios = [logp - mismatched.logps[index] for logp, index in zip(logps, indices, strict=True)]
    return torch.cat(ratios) if any(len(ratio) for ratio in ratios) else torch.zeros(1)


def _measure_given(
    model: PreTrainedModel,
    examples: Sequence[Example | None],
    token_budget: int,
    precision: Precision,
) -> list[Tensor]:
    """Summed log-probs; an empty tensor where there is no example."""
    places = [index for index, example in enumerate(examples) if example is not None]
    given = [example for example in examples if example is not None]
    measured = _measure_all(model, given, token_budget, precision)
    logps = [torch.empty(0)] * len(examples)
    for index, (found, _) in zip(places, measured, strict=True):
        logps[index] = found
    return logps


def _measure_all(
    model: PreTrainedModel, examples: Sequence[Example], token_budget: int, precision: Precision
) -> list[tuple[Tensor, Tensor]]:
    """(summed log-probs, log-probs by turn) of each example, on the CPU, without gradient."""
    found: list[tuple[Tensor, Tensor]] = [(torch.empty(0), torch.empty(0))] * len(examples)
    with deterministic(model), row_attention(model), torch.no_grad():
        for batch in pack(examples, token_budget):
            sizes = [len(examples[index].branches) for index in batch.example_indices]
            measured = measure(model, batch, precision=precision)
            logps = torch.split(measured.logps_B.cpu(), sizes)
            turns = torch.split(measured.turn_logps_BT.cpu(), sizes)
            for index, own, own_turns in zip(batch.example_indices, logps, turns, strict=True):
                found[index] = (own, own_turns)
    return found
