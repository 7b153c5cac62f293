"""Branches made up from log-ratios, and every objective with usual options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from training.methods.objectives import OBJECTIVES, make_objective
from training.methods.objectives.base import BranchLogps, Objective, State, Stateful

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


def branches(
    log_ratio: Sequence[float] | Tensor,
    win_prob: Sequence[float] | None = None,
    loss_tokens: Sequence[int] | None = None,
    **more: Any,
) -> BranchLogps:
    """Branches with these log-ratios in float64; pairs unless win_prob is given."""
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
        **more,
    )


def measured(
    log_ratio: Sequence[float] | Tensor,
    win_prob: Sequence[float] | None = None,
    loss_tokens: Sequence[int] | None = None,
) -> BranchLogps:
    """The same with everything measured: two turns each, groups of two, some KL."""
    given = branches(log_ratio, win_prob, loss_tokens)
    halves = torch.tensor([0.25, 0.75], dtype=torch.float64)
    count = len(given.win_prob_B)
    return replace(
        given,
        group_B=torch.arange(count) // 2,
        turns_B=torch.full((count,), 2),
        policy_turn_logps_BT=given.policy_logps_B[:, None] * halves,
        reference_turn_logps_BT=given.reference_logps_B[:, None] * halves,
        kl_B=0.1 + 0.05 * torch.arange(count, dtype=torch.float64),
        anchor_logps_B=given.reference_logps_B - 0.2,
        mismatched_log_ratio_M=torch.tensor([0.3, 0.1], dtype=torch.float64),
    )


def select(given: BranchLogps, places: Sequence[int]) -> BranchLogps:
    """Some of the branches, in this order; numbers of the whole batch stay as they are."""
    index = torch.tensor(places)
    values = {f.name: getattr(given, f.name) for f in fields(given)}
    rows = {n: v[index] for n, v in values.items() if torch.is_tensor(v) and not n.endswith("_M")}
    return replace(given, **rows)


def frozen(name: str, state: State = STATE) -> Objective:
    """An objective with usual options, and a stateful one in this state."""
    made = make_objective(name, **OPTIONS[name])
    if not isinstance(made, Stateful):
        return made
    loss = made.loss
    return lambda given: loss(given, state)


def gradient(objective: Objective, given: BranchLogps) -> Tensor:
    """d loss / d policy_logps_B; a turn's log-prob moves as it is a share of the branch's."""
    policy_B = given.policy_logps_B.clone().requires_grad_()
    turns_BT = given.policy_turn_logps_BT
    if turns_BT is not None:
        share_BT = turns_BT / given.policy_logps_B[:, None]
        turns_BT = policy_B[:, None] * share_BT.nan_to_num(0.5)
    given = replace(given, policy_logps_B=policy_B, policy_turn_logps_BT=turns_BT)
    (result,) = torch.autograd.grad(objective(given).loss, policy_B)
    return result
