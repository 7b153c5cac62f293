"""Branches made up from log-ratios, and every objective with usual options."""

# ruff: noqa: N815 (axis suffixes)
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor

from training.methods.objectives import OBJECTIVES, make_objective
from training.methods.objectives.base import Stateful
from training.methods.objectives.types import (
    LOGPS_WITH,
    BranchLogps,
    Groups,
    ObjectiveOutput,
    Pairs,
    State,
    TurnLogps,
    columns_of,
    extended,
    pairs_of,
)

REFERENCE = -3.0

OPTIONS: dict[str, dict[str, Any]] = {
    "bco": {"beta": 0.3, "momentum": 0.9},
    "beta_dpo": {"beta": 0.3, "alpha": 0.6, "momentum": 0.9, "keep": 0.8},
    "cdpo": {"beta": 0.3, "flip_prob": 0.1},
    "cpo": {"beta": 0.3, "nll_weight": 1.0},
    "dmpo": {"beta": 0.3, "gamma": 0.7, "discounted": True},
    "dpo": {"beta": 0.3},
    "dpop": {"beta": 0.3, "penalty": 5.0},
    "gpo": {"beta": 0.3, "convex": "exponential"},
    "hinge": {"beta": 0.3},
    "inpo": {"eta": 3.0, "anchor_weight": 0.2},
    "ipo": {"beta": 0.3, "per_token": False},
    "kto": {"beta": 0.3, "chosen_weight": 1.0, "rejected_weight": 1.2},
    "orpo": {"beta": 0.1},
    "preferred_sft": {},
    "r_dpo": {"beta": 0.3, "alpha": 0.05},
    "robust_dpo": {"beta": 0.3, "flip_prob": 0.1},
    "sdpo": {"beta": 0.3},
    "simpo": {"beta": 2.0, "gamma": 0.6},
    "slic": {"delta": 1.0, "nll_weight": 0.1},
    "sppo": {"eta": 3.0},
    "sppo_pair": {"eta": 3.0},
    "tdpo1": {"beta": 0.3},
    "tdpo2": {"beta": 0.3, "alpha": 0.5},
}
assert set(OPTIONS) == set(OBJECTIVES), "give a new objective its options here"

EVERY = pytest.mark.parametrize("name", list(OBJECTIVES))
REFERENCE_FREE = {"simpo", "cpo", "orpo", "slic", "preferred_sft"}
ANY_GROUPS = {"bco", "inpo", "kto", "preferred_sft", "sppo"}
"""Objectives that take groups of any size and any win rates; the others take pairs."""
STATE: State = {"kl": 0.2, "delta": 0.1, "margin": 0.5, "beta": 0.3, "cutoff": 1e9, "kept_share": 1}
"""A state in which every stateful objective keeps all branches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything(TurnLogps):
    """Branches with all measurements at once; an update makes only what an objective asks for."""

    group_B: Tensor
    kl_B: Tensor
    anchor_logps_B: Tensor
    mismatched_log_ratio_M: Tensor


def branches(
    log_ratio: Sequence[float] | Tensor,
    win_prob: Sequence[float] | None = None,
    loss_tokens: Sequence[int] | None = None,
) -> BranchLogps:
    """Branches with these log-ratios in float64; those of pairs unless win_prob is given."""
    log_ratio_B = torch.as_tensor(log_ratio, dtype=torch.float64)
    count = len(log_ratio_B)
    reference_B = torch.full((count,), REFERENCE, dtype=torch.float64)
    return BranchLogps(
        policy_logps_B=reference_B + log_ratio_B,
        reference_logps_B=reference_B,
        win_prob_B=torch.tensor(
            [1.0, 0.0] * (count // 2) if win_prob is None else list(win_prob), dtype=torch.float64
        ),
        loss_tokens_B=torch.tensor([1] * count if loss_tokens is None else list(loss_tokens)),
    )


def pairs(log_ratio: Sequence[float] | Tensor, loss_tokens: Sequence[int] | None = None) -> Pairs:
    """Pairs with these log-ratios, chosen and rejected in turn."""
    return pairs_of(branches(log_ratio, loss_tokens=loss_tokens))


def groups(log_ratio: Sequence[float], win_prob: Sequence[float] | None = None) -> Groups:
    """A batch with these log-ratios in groups of two, as an update measures it."""
    made = branches(log_ratio, win_prob)
    return Groups(made, torch.arange(len(made.win_prob_B)) // 2)


def measured(
    log_ratio: Sequence[float] | Tensor,
    win_prob: Sequence[float] | None = None,
    loss_tokens: Sequence[int] | None = None,
) -> Everything:
    """The branches with everything measured: two turns each, groups of two, some KL."""
    given = branches(log_ratio, win_prob, loss_tokens)
    halves = torch.tensor([0.25, 0.75], dtype=torch.float64)
    count = len(given.win_prob_B)
    return extended(
        given,
        Everything,
        group_B=torch.arange(count) // 2,
        turns_B=torch.full((count,), 2),
        policy_turn_logps_BT=given.policy_logps_B[:, None] * halves,
        reference_turn_logps_BT=given.reference_logps_B[:, None] * halves,
        kl_B=0.1 + 0.05 * torch.arange(count, dtype=torch.float64),
        anchor_logps_B=given.reference_logps_B - 0.2,
        mismatched_log_ratio_M=torch.tensor([0.3, 0.1], dtype=torch.float64),
    )


def select(given: Everything, places: Sequence[int]) -> Everything:
    """Some of the branches, in this order; numbers of the whole batch stay as they are."""
    index = torch.tensor(places)
    rows: dict[str, Any] = {name: values[index] for name, values in columns_of(given).items()}
    return replace(given, **rows)


def batch_for(name: str, given: Everything) -> Groups:
    """The batch with the measurement that an objective asks for, as an update makes it."""
    measures = OBJECTIVES[name].measures
    kind = LOGPS_WITH[measures] if measures else BranchLogps
    return Groups(kind(**{f.name: getattr(given, f.name) for f in fields(kind)}), given.group_B)


def frozen(name: str, state: State = STATE) -> Callable[[Everything], ObjectiveOutput]:
    """An objective with usual options, and a stateful one in this state."""
    made = make_objective(name, **OPTIONS[name])
    if not isinstance(made, Stateful):
        return lambda given: made(batch_for(name, given))
    loss = made.loss
    return lambda given: loss(batch_for(name, given), state)


G = TypeVar("G", BranchLogps, Everything, Pairs)


def gradient(objective: Callable[[G], ObjectiveOutput], given: G) -> Tensor:
    """d loss / d policy_logps_B; a turn's log-prob moves as it is a share of the branch's.

    Of pairs, the chosen and the rejected one in turn.
    """
    if isinstance(given, Pairs):
        sides = given.chosen.policy_logps_B, given.rejected.policy_logps_B
        policy_B = torch.stack(sides, dim=1).flatten().requires_grad_()
        moved: Any = Pairs(
            replace(given.chosen, policy_logps_B=policy_B[0::2]),
            replace(given.rejected, policy_logps_B=policy_B[1::2]),
        )
    else:
        policy_B = given.policy_logps_B.clone().requires_grad_()
        moved = replace(given, policy_logps_B=policy_B)
    if isinstance(given, Everything):
        share_BT = given.policy_turn_logps_BT / given.policy_logps_B[:, None]
        turns_BT = policy_B[:, None] * share_BT.nan_to_num(0.5)
        moved = replace(moved, policy_turn_logps_BT=turns_BT)
    (result,) = torch.autograd.grad(objective(moved).loss, policy_B)
    return result
