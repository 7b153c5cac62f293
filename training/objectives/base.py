"""What objectives take and give: log-probabilities of branches in, a loss and its metrics out.

Axis suffixes: `_B` branches, `_P` pairs. An objective is a pure function

    objective(branches: BranchLogps, *, <its own options>) -> ObjectiveOutput

whose loss is a mean over branches or over pairs, so that a batch may be split and the parts
averaged by their numbers of branches. Branches of one example lie side by side; a pair is
(chosen, rejected), so that pairs lie chosen, rejected, chosen, rejected, ...
"""

# ruff: noqa: N802, N815 (axis suffixes)
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from envs.errors import TrainingError


@dataclass(frozen=True, slots=True)
class BranchLogps:
    """What a policy and its reference say of each branch; every tensor has shape (B,).

    Attributes:
        policy_logps_B: log-probability of the branch's loss tokens, summed, nats.
        reference_logps_B: the same under the reference; carries no gradient.
        win_prob_B: probability that the branch beats the others of its group, 0 to 1;
            1 for the chosen and 0 for the rejected side of a pair.
        loss_tokens_B: number of tokens in those sums.
    """

    policy_logps_B: Tensor
    reference_logps_B: Tensor
    win_prob_B: Tensor
    loss_tokens_B: Tensor

    def __post_init__(self) -> None:
        shapes = {field.name: tuple(getattr(self, field.name).shape) for field in fields(self)}
        if self.policy_logps_B.dim() != 1 or len(set(shapes.values())) != 1:
            raise TrainingError(
                f"BranchLogps got the shapes {shapes}, expected one and the same shape (B,); "
                "give each tensor one number per branch."
            )

    @property
    def log_ratio_B(self) -> Tensor:
        """log(policy / reference) of each branch, nats."""
        return self.policy_logps_B - self.reference_logps_B


@dataclass(frozen=True, slots=True)
class Pairs:
    """The two sides of each pair, as views of the branches; every tensor has shape (P,)."""

    chosen: BranchLogps
    rejected: BranchLogps

    @property
    def margin_P(self) -> Tensor:
        """By how much the policy moved towards chosen rather than rejected, nats."""
        return self.chosen.log_ratio_B - self.rejected.log_ratio_B


@dataclass(frozen=True, slots=True)
class ObjectiveOutput:
    """A scalar loss to minimise, and numbers to log beside it."""

    loss: Tensor
    metrics: dict[str, float]


Objective = Callable[[BranchLogps], ObjectiveOutput]
"""An objective with its options filled in."""


def pairs(branches: BranchLogps) -> Pairs:
    """Read branches as pairs.

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


def _every_second(branches: BranchLogps, start: int) -> BranchLogps:
    return BranchLogps(
        policy_logps_B=branches.policy_logps_B[start::2],
        reference_logps_B=branches.reference_logps_B[start::2],
        win_prob_B=branches.win_prob_B[start::2],
        loss_tokens_B=branches.loss_tokens_B[start::2],
    )


def pair_metrics(pairs: Pairs) -> dict[str, float]:
    """Where the policy stands on pairs.

    Returns:
        `chosen_log_ratio`, `rejected_log_ratio` and `margin` in nats, means over pairs; `accuracy`,
        the share of pairs with a positive margin, ties counted as 1/2.
    """
    margin_P = pairs.margin_P.detach()
    return {
        "chosen_log_ratio": float(pairs.chosen.log_ratio_B.detach().mean()),
        "rejected_log_ratio": float(pairs.rejected.log_ratio_B.detach().mean()),
        "margin": float(margin_P.mean()),
        "accuracy": float((margin_P.sign() + 1).mean() / 2),
    }


def is_chosen(branches: BranchLogps) -> Tensor:
    """Which branches win more often than they lose; bool, shape (B,)."""
    return branches.win_prob_B > 0.5


def nll(branches: BranchLogps) -> Tensor:
    """Mean negative log-likelihood per loss token of the chosen branches, nats; scalar.

    Added to an objective with a weight, it keeps the chosen branches from becoming less probable
    (arXiv 2404.19733, eq. 1). Zero when no branch is chosen.
    """
    chosen_B = is_chosen(branches)
    tokens = branches.loss_tokens_B[chosen_B].sum().clamp(min=1)
    return -branches.policy_logps_B[chosen_B].sum() / tokens
