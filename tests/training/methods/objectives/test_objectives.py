"""DPO, SDPO and SPPO against values derived by hand; what is no pair is refused; the nll."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from envs.errors import TrainingError
from tests.training.methods.objectives.builders import REFERENCE, branches, gradient, groups, pairs
from training.methods.objectives import make_objective
from training.methods.objectives.common import nll
from training.methods.objectives.dpo import dpo
from training.methods.objectives.sdpo import sdpo
from training.methods.objectives.sppo import sppo, sppo_pair
from training.methods.objectives.types import BranchLogps, ObjectiveOutput, pairs_of

SIGMOIDS = pytest.mark.parametrize("objective", [dpo, sdpo])


@SIGMOIDS
def test_sigmoid_by_hand(objective: Callable[..., ObjectiveOutput]) -> None:
    # beta 1/2, margin log 9 - 0: sigmoid(log 3) = 3/4, loss -log(3/4)
    # second pair without a margin: sigmoid(0) = 1/2, loss log 2; mean of both
    output = objective(pairs([math.log(9), 0.0, 1.0, 1.0]), beta=0.5)
    assert_close(float(output.loss), (math.log(4 / 3) + math.log(2)) / 2)


@SIGMOIDS
def test_sigmoid_gradient_by_hand(objective: Callable[..., ObjectiveOutput]) -> None:
    # d/dm -log s(beta m) = -beta s(-beta m) = -1/2 * 1/4 at beta m = log 3; rejected: minus that
    found = gradient(partial(objective, beta=0.5), pairs([math.log(9), 0.0]))
    assert_close(found, torch.tensor([-0.125, 0.125], dtype=torch.float64))


def test_pair_metrics_by_hand() -> None:
    # margins 3, -1, 0: mean 2/3; one right, one wrong, one tie: (1 + 0 + 1/2) / 3
    metrics = dpo(pairs([2.0, -1.0, 0.0, 1.0, 0.5, 0.5]), beta=0.1).metrics
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


def test_sppo_over_a_pair_by_hand() -> None:
    # eta 2, win rates 3/4 and 1/4: targets 1/2 and -1/2; residuals 1/2 and 1; (1/4 + 1) / 2
    one_pair = branches([1.0, 0.5], [0.75, 0.25])
    assert_close(float(sppo_pair(one_pair, eta=2.0).loss), 0.625)
    objective = make_objective("sppo_pair", eta=2.0)
    assert callable(objective)
    with pytest.raises(TrainingError, match="got 3 branches, expected two of each group"):
        objective(groups([1.0, 0.5, 0.0], [1.0, 0.5, 0.0]))


def test_sppo_metrics_by_hand() -> None:
    # winners 2 and -2 (mean 0), loser -1; the tie at 5 counts nowhere; signs right: 2 of 3
    metrics = sppo(branches([2.0, -2.0, -1.0, 5.0], [0.9, 0.6, 0.1, 0.5]), eta=1.0).metrics
    assert metrics == pytest.approx(
        {"chosen_log_ratio": 0.0, "rejected_log_ratio": -1.0, "margin": 1.0, "accuracy": 2 / 3}
    )


def test_sppo_without_winners_leaves_their_metrics_out() -> None:
    assert sppo(branches([1.0, 2.0], [0.5, 0.5]), eta=1.0).metrics == {}


def test_sigmoid_of_a_lost_cause_is_linear() -> None:
    # beta m = -0.1 * 2e4: -log sigmoid(-2000) = 2000 + log(1 + e^-2000)
    assert_close(float(dpo(pairs([-1e4, 1e4]), beta=0.1).loss), 2000.0)


@pytest.mark.parametrize("name", ["dpo", "sdpo"])
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
    name: str,
    log_ratio: list[float],
    win_prob: list[float],
    message: str,
) -> None:
    objective = make_objective(name, beta=0.1)
    assert callable(objective)
    with pytest.raises(TrainingError, match=message):
        objective(groups(log_ratio, win_prob))


def test_pairs_are_views_of_alternate_branches() -> None:
    given = branches([1.0, 2.0, 3.0, 4.0])
    both = pairs_of(given)
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
