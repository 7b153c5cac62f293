"""DMPO by turns and TDPO by tokens, against values derived by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from envs.errors import TrainingError
from tests.training.methods.objectives.builders import branches
from training.methods.objectives.dpo import dpo
from training.methods.objectives.tokens import tdpo1, tdpo2
from training.methods.objectives.turns import dmpo, turn_weights
from training.methods.objectives.types import KlLogps, Pairs, TurnLogps, extended, pairs_of


def by_turns(chosen: list[float], rejected: list[float]) -> Pairs[TurnLogps]:
    """One pair with these log-ratios by turn."""
    longest = max(len(chosen), len(rejected))
    rows = [turns + [0.0] * (longest - len(turns)) for turns in (chosen, rejected)]
    ratio_BT = torch.tensor(rows, dtype=torch.float64)
    made = extended(
        branches(ratio_BT.sum(1)),
        TurnLogps,
        turns_B=torch.tensor([len(chosen), len(rejected)]),
        policy_turn_logps_BT=ratio_BT - 1.0,
        reference_turn_logps_BT=torch.full_like(ratio_BT, -1.0),
    )
    return pairs_of(made)


def test_turn_weights_by_hand() -> None:
    # gamma 1/2, T = 2: 1 and 1/2 (1 - 1/2) / (1 - 1/4) = 1/3; T = 3: 1, 3/7, 1/7
    weights = turn_weights(torch.tensor([2, 3]), 3, 0.5, discounted=True)
    assert_close(weights.tolist(), [[1.0, 1 / 3, 0.0], [1.0, 3 / 7, 1 / 7]])
    # without gamma^t: 1, 2/3; 1, 6/7, 4/7
    weights = turn_weights(torch.tensor([2, 3]), 3, 0.5, discounted=False)
    assert_close(weights.tolist(), [[1.0, 2 / 3, 0.0], [1.0, 6 / 7, 4 / 7]])


@pytest.mark.parametrize("discounted", [True, False])
def test_turn_weights_have_a_limit_at_no_discount(discounted: bool) -> None:
    wanted = turn_weights(torch.tensor([4, 1, 0]), 4, 1.0, discounted=discounted)
    assert wanted.tolist() == [[1, 0.75, 0.5, 0.25], [1, 0, 0, 0], [0, 0, 0, 0]]
    near = turn_weights(torch.tensor([4, 1, 0]), 4, 1 - 1e-12, discounted=discounted)
    assert_close(near, wanted)


def test_dmpo_by_hand() -> None:
    # gamma 1/2: chosen 1 * log 9 + 1/3 * 3 = log 9 + 1; rejected 1 + 3/7 * 7 - 1/7 * 21 = 1
    made = by_turns([math.log(9), 3.0], [1.0, 7.0, -21.0])
    loss = dmpo(made, beta=0.5, gamma=0.5, discounted=True).loss
    assert_close(float(loss), math.log(4 / 3))
    # without gamma^t: log 9 + 2/3 * 3 against 1 + 6 - 12 = -5
    loss = dmpo(made, beta=0.5, gamma=0.5, discounted=False).loss
    assert_close(float(loss), math.log(1 + math.exp(-(math.log(9) + 7) / 2)))


@pytest.mark.parametrize("gamma", [0.1, 0.7, 1.0])
def test_dmpo_on_single_turns_is_dpo(gamma: float) -> None:
    made = by_turns([0.7], [-0.4])
    loss = dmpo(made, beta=0.3, gamma=gamma, discounted=True).loss
    assert_close(loss, dpo(made, beta=0.3).loss)


def test_dmpo_does_not_see_padding() -> None:
    made = by_turns([0.7, 0.1], [-0.4, 0.3])
    objective = partial(dmpo, beta=0.3, gamma=0.7, discounted=True)
    wide: Tensor = torch.full((1, 3), -math.inf, dtype=torch.float64)

    def padded(side: TurnLogps) -> TurnLogps:
        return replace(
            side,
            policy_turn_logps_BT=torch.cat([side.policy_turn_logps_BT, wide], 1),
            reference_turn_logps_BT=torch.cat([side.reference_turn_logps_BT, wide], 1),
        )

    both = Pairs(padded(made.chosen), padded(made.rejected))
    assert_close(objective(both).loss, objective(made).loss)


@pytest.mark.parametrize("gamma", [0.0, 1.5])
def test_dmpo_refuses_what_is_no_discount(gamma: float) -> None:
    with pytest.raises(TrainingError, match="expected above 0 and at most 1"):
        dmpo(by_turns([0.7], [0.1]), beta=0.3, gamma=gamma, discounted=True)


def with_kl(log_ratio: list[float], kl: list[float]) -> KlLogps:
    kl_B = torch.tensor(kl, dtype=torch.float64, requires_grad=True)
    return extended(branches(log_ratio), KlLogps, kl_B=kl_B)


def kl_gradient(made: KlLogps, loss: Tensor) -> Tensor:
    return torch.autograd.grad(loss, made.kl_B)[0]


def test_tdpo1_by_hand() -> None:
    # margin log 9 + 2, KL of rejected 3 and of chosen 1: beta (log 9 + 2 - 2) = log 3 at beta 1/2
    made = with_kl([math.log(9) + 2, 0.0], [1.0, 3.0])
    loss = tdpo1(pairs_of(made), beta=0.5).loss
    assert_close(loss.item(), math.log(4 / 3))
    # -log s(x) falls by beta s(-x) = 1/8 a nat: with the chosen's KL, against the rejected's
    assert_close(kl_gradient(made, loss).tolist(), [-0.125, 0.125])


def test_tdpo2_by_hand() -> None:
    # alpha 1/2 takes half of the 2 nats, so a margin of log 9 + 1 does it
    made = with_kl([math.log(9) + 1, 0.0], [1.0, 3.0])
    loss = tdpo2(pairs_of(made), beta=0.5, alpha=0.5).loss
    assert_close(loss.item(), math.log(4 / 3))
    # the chosen's KL is a constant, or it would be driven up
    assert_close(kl_gradient(made, loss).tolist(), [0.0, 0.0625])


def test_without_alpha_tdpo2_is_dpo() -> None:
    made = with_kl([0.7, -0.4], [1.0, 3.0])
    both = pairs_of(made)
    assert_close(tdpo2(both, beta=0.3, alpha=0.0).loss, dpo(both, beta=0.3).loss)
