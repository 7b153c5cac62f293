"""Objectives against values derived by hand, autograd against finite differences, and limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from envs.errors import TrainingError
from training.objectives import OBJECTIVES
from training.objectives.base import BranchLogps, Objective, ObjectiveOutput, nll, pairs
from training.objectives.dpo import dpo
from training.objectives.sdpo import sdpo
from training.objectives.sppo import sppo

REFERENCE = -3.0


def branches(
    log_ratio: Sequence[float] | Tensor,
    win_prob: Sequence[float] | None = None,
    loss_tokens: Sequence[int] | None = None,
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
    )


def gradient(objective: Objective, given: BranchLogps) -> Tensor:
    """d loss / d policy_logps_B."""
    policy_B = given.policy_logps_B.clone().requires_grad_()
    given = BranchLogps(policy_B, given.reference_logps_B, given.win_prob_B, given.loss_tokens_B)
    (result,) = torch.autograd.grad(objective(given).loss, policy_B)
    return result


SIGMOIDS = pytest.mark.parametrize("objective", [dpo, sdpo])


@SIGMOIDS
def test_sigmoid_by_hand(objective: Callable[..., ObjectiveOutput]) -> None:
    # beta 1/2, margin log 9 - 0: sigmoid(log 3) = 3/4, loss -log(3/4)
    # second pair without a margin: sigmoid(0) = 1/2, loss log 2; mean of both
    output = objective(branches([math.log(9), 0.0, 1.0, 1.0]), beta=0.5)
    assert_close(float(output.loss), (math.log(4 / 3) + math.log(2)) / 2)


@SIGMOIDS
def test_sigmoid_gradient_by_hand(objective: Callable[..., ObjectiveOutput]) -> None:
    # d/dm -log s(beta m) = -beta s(-beta m) = -1/2 * 1/4 at beta m = log 3; rejected: minus that
    found = gradient(partial(objective, beta=0.5), branches([math.log(9), 0.0]))
    assert_close(found, torch.tensor([-0.125, 0.125], dtype=torch.float64))


def test_pair_metrics_by_hand() -> None:
    # margins 3, -1, 0: mean 2/3; one right, one wrong, one tie: (1 + 0 + 1/2) / 3
    metrics = dpo(branches([2.0, -1.0, 0.0, 1.0, 0.5, 0.5]), beta=0.1).metrics
    assert metrics == pytest.approx(
        {
            "chosen_log_ratio": 2.5 / 3,
            "rejected_log_ratio": 0.5 / 3,
            "margin": 2 / 3,
            "accuracy": 0.5,
        }
    )


def test_sppo_by_hand() -> None:
    # log-ratio 0, win prob 1, eta 2: target 2 * (1 - 1/2) = 1, loss (0 - 1)^2 / 2
    assert_close(float(sppo(branches([0.0], [1.0]), eta=2.0).loss), 0.5)
    # eta 4, win probs 3/4, 1/2, 1/4: targets 1, 0, -1; residuals 1, 1, 3; (1 + 1 + 9) / 3 / 2
    assert_close(float(sppo(branches([2.0, 1.0, 2.0], [0.75, 0.5, 0.25]), eta=4.0).loss), 11 / 6)


def test_sppo_has_no_gradient_at_its_target() -> None:
    at_target = branches([1.0, 0.0, -1.0], [0.75, 0.5, 0.25])
    assert_close(gradient(partial(sppo, eta=4.0), at_target), torch.zeros(3, dtype=torch.float64))
    assert float(sppo(at_target, eta=4.0).loss) == 0.0


def test_sppo_metrics_by_hand() -> None:
    # winners 2 and -2 (mean 0), loser -1; the tie at 5 counts nowhere; signs right: 2 of 3
    metrics = sppo(branches([2.0, -2.0, -1.0, 5.0], [0.9, 0.6, 0.1, 0.5]), eta=1.0).metrics
    assert metrics == pytest.approx(
        {"chosen_log_ratio": 0.0, "rejected_log_ratio": -1.0, "margin": 1.0, "accuracy": 2 / 3}
    )


def test_sppo_without_winners_leaves_their_metrics_out() -> None:
    assert sppo(branches([1.0, 2.0], [0.5, 0.5]), eta=1.0).metrics == {}


OPTIONS = {"dpo": {"beta": 0.3}, "sdpo": {"beta": 0.3}, "sppo": {"eta": 3.0}}


def configured() -> list[object]:
    assert set(OPTIONS) == set(OBJECTIVES), "give a new objective its options here"
    return [pytest.param(partial(OBJECTIVES[n], **o), id=n) for n, o in OPTIONS.items()]


ALL = pytest.mark.parametrize("objective", configured())


@ALL
def test_gradient_agrees_with_finite_differences(objective: Objective) -> None:
    def loss(log_ratio_B: Tensor) -> Tensor:
        return objective(branches(log_ratio_B)).loss

    log_ratio_B = torch.tensor([0.7, -0.4, -2.0, 1.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (log_ratio_B,))


@ALL
def test_a_step_from_the_reference_raises_chosen_and_lowers_rejected(objective: Objective) -> None:
    found = gradient(objective, branches([0.0, 0.0, 0.0, 0.0]))
    assert (found[0::2] < 0).all()
    assert (found[1::2] > 0).all()


@ALL
@pytest.mark.parametrize("log_ratio", [[1e4, -1e4], [-1e4, 1e4]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_log_ratios_stay_finite(
    objective: Objective, log_ratio: list[float], dtype: torch.dtype
) -> None:
    given = branches(log_ratio)
    given = BranchLogps(
        given.policy_logps_B.to(dtype),
        given.reference_logps_B.to(dtype),
        given.win_prob_B.to(dtype),
        given.loss_tokens_B,
    )
    assert torch.isfinite(objective(given).loss)
    assert torch.isfinite(gradient(objective, given)).all()


def test_sigmoid_of_a_lost_cause_is_linear() -> None:
    # beta m = -0.1 * 2e4: -log sigmoid(-2000) = 2000 + log(1 + e^-2000)
    assert_close(float(dpo(branches([-1e4, 1e4]), beta=0.1).loss), 2000.0)


ratios = st.floats(-20, 20, allow_nan=False)


@ALL
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_the_order_of_pairs_does_not_matter(objective: Objective, data: st.DataObject) -> None:
    laid_out = data.draw(st.lists(st.tuples(ratios, ratios), min_size=1, max_size=6))
    shuffled = data.draw(st.permutations(laid_out))
    first = objective(branches([ratio for pair in laid_out for ratio in pair]))
    second = objective(branches([ratio for pair in shuffled for ratio in pair]))
    assert_close(first.loss, second.loss)
    assert first.metrics == pytest.approx(second.metrics)


@ALL
@settings(deadline=None, max_examples=30)
@given(pair=st.tuples(ratios, ratios), shift=ratios)
def test_only_the_log_ratio_matters(
    objective: Objective, pair: tuple[float, float], shift: float
) -> None:
    given = branches(pair)
    shifted = BranchLogps(
        given.policy_logps_B + shift,
        given.reference_logps_B + shift,
        given.win_prob_B,
        given.loss_tokens_B,
    )
    assert_close(objective(given).loss, objective(shifted).loss)


@ALL
def test_the_loss_is_a_mean(objective: Objective) -> None:
    # so a batch of two equal halves has the loss of one
    one = [0.3, -1.2, 2.0, 0.1]
    assert_close(objective(branches(one)).loss, objective(branches(one + one)).loss)


@SIGMOIDS
@pytest.mark.parametrize(
    ("log_ratio", "win_prob", "message"),
    [
        ([], [], "got 0 branches"),
        ([0.0, 0.0, 0.0], [1.0, 0.0, 1.0], "got 3 branches"),
        ([0.0, 0.0], [0.0, 1.0], "win_prob 0 at branch 0, expected 1 "),
        ([0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.3], "win_prob 0.3 at branch 3, expected 0 "),
    ],
)
def test_what_is_not_pairs_is_refused(
    objective: Callable[..., ObjectiveOutput],
    log_ratio: list[float],
    win_prob: list[float],
    message: str,
) -> None:
    with pytest.raises(TrainingError, match=message):
        objective(branches(log_ratio, win_prob), beta=0.1)


def test_pairs_are_views_of_alternate_branches() -> None:
    given = branches([1.0, 2.0, 3.0, 4.0])
    both = pairs(given)
    assert both.chosen.policy_logps_B.tolist() == [REFERENCE + 1, REFERENCE + 3]
    assert both.rejected.policy_logps_B.tolist() == [REFERENCE + 2, REFERENCE + 4]
    assert both.chosen.policy_logps_B.data_ptr() == given.policy_logps_B.data_ptr()


def test_branches_of_unequal_shapes_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"'win_prob_B': \(1,\)"):
        BranchLogps(torch.zeros(2), torch.zeros(2), torch.zeros(1), torch.zeros(2))


def test_nll_by_hand() -> None:
    # chosen: log-probs -3 + 1 = -2 over 4 tokens and -3 - 1 = -4 over 2; (2 + 4) / (4 + 2) = 1
    given = branches([1.0, 9.0, -1.0, 9.0], loss_tokens=[4, 7, 2, 7])
    assert_close(float(nll(given)), 1.0)


def test_nll_pulls_on_chosen_branches_only() -> None:
    given = branches([0.0, 0.0, 0.0], [0.8, 0.5, 0.1], loss_tokens=[4, 1, 1])
    policy_B = given.policy_logps_B.clone().requires_grad_()
    given = BranchLogps(policy_B, given.reference_logps_B, given.win_prob_B, given.loss_tokens_B)
    (found,) = torch.autograd.grad(nll(given), policy_B)
    assert found.tolist() == [-0.25, 0.0, 0.0]


def test_nll_of_no_chosen_branch_is_zero() -> None:
    assert float(nll(branches([1.0, 2.0], [0.5, 0.2]))) == 0.0
