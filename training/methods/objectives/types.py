"""What losses take and give: log-probabilities of branches in, a loss and metrics out.

A branch is one continuation of a dialogue, a group all continuations of the same dialogue, and a
pair two of them of which one is preferred. Names end in the axis of a tensor: `_B` branches,
`_P` pairs, `_T` a branch's own turns, `_M` mismatched completions.
"""

# ruff: noqa: N802, N815 (axis suffixes)
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Generic, Literal

from typing_extensions import TypeVar  # with defaults, so that Pairs is Pairs[BranchLogps]

from envs.errors import TrainingError
from training.methods.lazy_torch import torch

if TYPE_CHECKING:
    from torch import Tensor

Measurement = Literal["turns", "kl", "anchor", "mismatched"]
"""What an update measures beside log-probs for a loss that asks for it (`measures=`)."""

State = Mapping[str, float]
"""Numbers that an objective carries from batch to batch; empty before the first."""


@dataclass(frozen=True, slots=True)
class BranchLogps:
    """Log-probs of branches under the policy and under the reference; every tensor is (B,).

    Attributes:
        policy_logps_B: log-probability of the branch's loss tokens, summed, nats.
        reference_logps_B: the same under the reference; carries no gradient.
        win_prob_B: probability that the branch beats the others of its group, 0 to 1;
            1 for the chosen and 0 for the rejected side of a pair.
        loss_tokens_B: number of loss tokens in those sums.
        chosen_tokens_per_branch: loss tokens of chosen branches by number of all branches, in the
            whole batch of which this is a part; None: this is the whole batch.
    """

    policy_logps_B: Tensor
    reference_logps_B: Tensor
    win_prob_B: Tensor
    loss_tokens_B: Tensor
    chosen_tokens_per_branch: float | None = None

    def __post_init__(self) -> None:
        shapes = {name: tuple(values.shape) for name, values in columns_of(self).items()}
        short = {shape[:1] for shape in shapes.values()}
        wrong = [name for name, shape in shapes.items() if len(shape) != 1 + name.endswith("_BT")]
        if wrong or len(short) != 1:
            raise TrainingError(
                f"BranchLogps got the shapes {shapes}, expected one and the same shape (B,); "
                "give each tensor one number per branch, and turns one row per branch."
            )

    @property
    def log_ratio_B(self) -> Tensor:
        """log(policy / reference) of each branch, nats."""
        return self.policy_logps_B - self.reference_logps_B

    @property
    def mean_logps_B(self) -> Tensor:
        """Log-probability per loss token under the policy, nats; 0 for a branch without tokens."""
        return self.policy_logps_B / self.loss_tokens_B.clamp(min=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLogps(BranchLogps):
    """Branches with log-probs by turn, for losses with `measures="turns"`.

    Attributes:
        turns_B: number of own turns with loss, each of them an unbroken run of loss tokens.
        policy_turn_logps_BT: log-probability of each of those turns, 0 behind the last; (B, T).
        reference_turn_logps_BT: the same under the reference; (B, T).
    """

    turns_B: Tensor
    policy_turn_logps_BT: Tensor
    reference_turn_logps_BT: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class KlLogps(BranchLogps):
    """Branches with the policy's divergence from the reference, for losses with `measures="kl"`.

    Attributes:
        kl_B: KL(reference || policy) of the next token, summed over the loss tokens, nats.
    """

    kl_B: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorLogps(BranchLogps):
    """Branches with log-probs under a second reference, for losses with `measures="anchor"`.

    Attributes:
        anchor_logps_B: summed log-probability under the first policy, which is never refreshed.
    """

    anchor_logps_B: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class MismatchedLogps(BranchLogps):
    """Branches with KTO's KL baseline, for losses with `measures="mismatched"`.

    Attributes:
        mismatched_log_ratio_M: log(policy / reference) of completions that belong to another
            example's trunk, without gradient; shape (M,), of the whole batch.
    """

    mismatched_log_ratio_M: Tensor


LOGPS_WITH: Mapping[Measurement, type[BranchLogps]] = {
    "turns": TurnLogps,
    "kl": KlLogps,
    "anchor": AnchorLogps,
    "mismatched": MismatchedLogps,
}
"""The type of branches that holds each measurement."""

L = TypeVar("L", bound=BranchLogps, default=BranchLogps, covariant=True)
B = TypeVar("B", bound=BranchLogps)


@dataclass(frozen=True, slots=True)
class Pairs(Generic[L]):
    """The chosen and the rejected branch of each pair; every tensor has P rows.

    `Pairs[KlLogps]` are pairs of branches with that measurement.
    """

    chosen: L
    rejected: L

    @property
    def margin_P(self) -> Tensor:
        """By how much the policy moved towards chosen rather than rejected, nats."""
        return self.chosen.log_ratio_B - self.rejected.log_ratio_B


@dataclass(frozen=True, slots=True)
class Groups(Generic[L]):
    """Branches, and which group each belongs to: all that an update measured of a batch.

    `Groups[KlLogps]` are groups of branches with that measurement.

    Attributes:
        branches: those of one group lie side by side.
        group_B: a number for each branch's group; only whether two are equal matters.
    """

    branches: L
    group_B: Tensor

    def __post_init__(self) -> None:
        if self.group_B.shape != self.branches.win_prob_B.shape:
            raise TrainingError(
                f"Groups got group_B of shape {tuple(self.group_B.shape)} for "
                f"{len(self.branches.win_prob_B)} branches, expected one number per branch."
            )

    def mean_B(self, values_B: Tensor) -> Tensor:
        """The mean of the values over each branch's group; shape (B,)."""
        _, index_B = self.group_B.unique(return_inverse=True)
        groups = int(index_B.max()) + 1
        sums = values_B.new_zeros(groups).index_add(0, index_B, values_B)
        return (sums / torch.bincount(index_B, minlength=groups))[index_B]


@dataclass(frozen=True, slots=True)
class ObjectiveOutput:
    """A scalar loss to minimise, and numbers to log beside it."""

    loss: Tensor
    metrics: dict[str, float]


def extended(branches: BranchLogps, kind: type[B], **measured: Tensor) -> B:
    """The same branches with a measurement: `extended(branches, KlLogps, kl_B=...)`."""
    known: dict[str, Any] = {f.name: getattr(branches, f.name) for f in fields(BranchLogps)}
    return kind(**known | measured)


def columns_of(branches: BranchLogps) -> dict[str, Tensor]:
    """The tensors with one row per branch, by name."""
    named = {f.name: getattr(branches, f.name) for f in fields(branches)}
    return {n: v for n, v in named.items() if isinstance(v, torch.Tensor) and not n.endswith("_M")}


def pairs_of(branches: B) -> Pairs[B]:
    """Split branches into the sides of pairs; the tensors are views.

    Raises:
        TrainingError: when the branches are not laid out chosen, rejected, chosen, rejected, ...
    """
    count = len(branches.win_prob_B)
    if count == 0 or count % 2:
        raise TrainingError(
            f"A pairwise objective got {count} branches, expected pairs (chosen, rejected); "
            "use a pairing that makes pairs, or an objective on groups such as sppo."
        )
    wanted_B = torch.tensor([1, 0], device=branches.win_prob_B.device).repeat(count // 2)
    wrong_B = branches.win_prob_B != wanted_B
    if wrong_B.any():
        place = int(wrong_B.nonzero()[0])
        raise TrainingError(
            f"A pairwise objective got win_prob {float(branches.win_prob_B[place]):g} at branch "
            f"{place}, expected {1 - place % 2} (1 for chosen, 0 for rejected, in turn); "
            "use a pairing that makes pairs, or an objective on groups such as sppo."
        )
    return Pairs(chosen=_every_second(branches, 0), rejected=_every_second(branches, 1))


def _every_second(branches: B, start: int) -> B:
    rows: dict[str, Any] = {n: v[start::2] for n, v in columns_of(branches).items()}
    return replace(branches, **rows)


def join(parts: Sequence[Groups]) -> Groups:
    """Put the parts of one batch together again; a measurement that one of them lacks is left out.

    Numbers of the whole batch, such as `mismatched_log_ratio_M`, are taken from the first part.
    """
    kinds = {type(part.branches) for part in parts}
    kind = kinds.pop() if len(kinds) == 1 else BranchLogps
    whole: dict[str, Any] = {f.name: getattr(parts[0].branches, f.name) for f in fields(kind)}
    for name in whole.keys() & columns_of(parts[0].branches).keys():
        columns = [columns_of(part.branches)[name] for part in parts]
        if name.endswith("_BT"):
            turns = max(column.shape[1] for column in columns)
            columns = [
                torch.nn.functional.pad(column, (0, turns - column.shape[1])) for column in columns
            ]
        whole[name] = torch.cat(columns)
    whole["chosen_tokens_per_branch"] = None
    return Groups(kind(**whole), torch.cat([part.group_B for part in parts]))
