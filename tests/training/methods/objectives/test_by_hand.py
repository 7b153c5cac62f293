"""Objectives on pairs against values derived by hand, and against the ones that they contain."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from envs.errors import TrainingError
from tests.training.methods.objectives.builders import branches, gradient, pairs
from training.methods.objectives.convex import gpo, hinge, ipo
from training.methods.objectives.dpo import cdpo, dpo, robust_dpo
from training.methods.objectives.guarded import dpop, r_dpo
from training.methods.objectives.likelihood import preferred_sft
from training.methods.objectives.reference_free import cpo, log1mexp, orpo, simpo, slic
from training.methods.objectives.types import Pairs

LOG3, LOG9 = math.log(3), math.log(9)
PAIR = [LOG9, 0.0]
"""A margin of log 9: at beta 1/2 the sigmoid is 3/4."""


def without_reference(
    chosen: float, rejected: float, loss_tokens: tuple[int, int] = (1, 1)
) -> Pairs:
    """One pair with these log-probs."""
    return pairs([chosen + 3.0, rejected + 3.0], loss_tokens=list(loss_tokens))


def test_cdpo() -> None:
    # 9/10 log(4/3) + 1/10 log 4
    loss = cdpo(pairs(PAIR), beta=0.5, flip_prob=0.1).loss
    assert_close(float(loss), 0.9 * math.log(4 / 3) + 0.1 * math.log(4))


def test_cdpo_rests_at_the_log_odds_of_a_right_label() -> None:
    # s(beta m) = 9/10 at beta m = log 9
    at_rest = pairs([LOG9, 0.0])
    found = gradient(partial(cdpo, beta=1.0, flip_prob=0.1), at_rest)
    assert_close(found, torch.zeros(2, dtype=torch.float64))


def test_robust_dpo() -> None:
    # (9/10 log(4/3) - 1/10 log 4) / (8/10)
    loss = robust_dpo(pairs(PAIR), beta=0.5, flip_prob=0.1).loss
    assert_close(float(loss), (0.9 * math.log(4 / 3) - 0.1 * math.log(4)) / 0.8)


def test_robust_dpo_on_flipped_labels_is_dpo_on_clean_ones() -> None:
    clean, flipped = pairs(PAIR), pairs(PAIR[::-1])
    robust = partial(robust_dpo, beta=0.5, flip_prob=0.2)
    expected = 0.8 * robust(clean).loss + 0.2 * robust(flipped).loss
    assert_close(expected, dpo(clean, beta=0.5).loss)


def test_robust_dpo_may_be_negative_and_refuses_coin_flips() -> None:
    # margin 100: (0 - 0.1 * 100) / 0.8
    assert_close(float(robust_dpo(pairs([100.0, 0.0]), beta=1.0, flip_prob=0.1).loss), -12.5)
    with pytest.raises(TrainingError, match=r"flip_prob 0.5, expected 0 or more and less than 1/2"):
        robust_dpo(pairs(PAIR), beta=0.5, flip_prob=0.5)


@pytest.mark.parametrize("noisy", [cdpo, robust_dpo])
def test_without_noise_it_is_dpo(noisy: object) -> None:
    assert callable(noisy)
    assert_close(noisy(pairs(PAIR), beta=0.5, flip_prob=0.0).loss, dpo(pairs(PAIR), beta=0.5).loss)


@pytest.mark.parametrize(
    ("convex", "ahead", "behind"),
    [
        # f at beta * margin = 1/2 and -2
        ("logistic", math.log(1 + math.exp(-0.5)), math.log(1 + math.exp(2.0))),
        ("hinge", 0.5, 3.0),
        ("squared", 0.25, 9.0),
        ("exponential", math.exp(-0.5), math.exp(2.0)),
        ("truncated_quadratic", 0.25, 9.0),
    ],
)
def test_gpo(convex: str, ahead: float, behind: float) -> None:
    loss = gpo(pairs([1.0, 0.0, -1.0, 3.0]), beta=0.5, convex=convex).loss
    assert_close(float(loss), (ahead + behind) / 2)


@pytest.mark.parametrize(
    ("convex", "beyond"),
    [("hinge", 0.0), ("truncated_quadratic", 0.0), ("squared", 16.0), ("exponential", 0.0)],
)
def test_gpo_functions_differ_far_ahead(convex: str, beyond: float) -> None:
    # at 5 the hinge and its square rest, the square pulls back: (5 - 1)^2
    loss = float(gpo(pairs([5.0, 0.0]), beta=1.0, convex=convex).loss)
    assert loss == pytest.approx(beyond, abs=0.01)


def test_the_exponential_goes_on_as_its_tangent() -> None:
    # at -22: e^20 (1 + 2); the slope is -e^20 from -20 on
    far = partial(gpo, beta=1.0, convex="exponential")
    assert_close(float(far(pairs([-22.0, 0.0])).loss), 3 * math.exp(20))
    assert_close(float(gradient(far, pairs([-30.0, 0.0]))[0]), -math.exp(20))


def test_gpo_has_dpo_hinge_and_ipo_as_members() -> None:
    made = pairs([0.7, -0.4, -2.0, 1.5])
    assert_close(gpo(made, beta=0.3, convex="logistic").loss, dpo(made, beta=0.3).loss)
    assert_close(gpo(made, beta=0.3, convex="hinge").loss, hinge(made, beta=0.3).loss)
    # (m - 1 / 2b)^2 = (2bm - 1)^2 / (2b)^2
    squared = gpo(made, beta=0.6, convex="squared").loss / 0.6**2
    assert_close(squared, ipo(made, beta=0.3, per_token=False).loss)


def test_gpo_knows_its_functions() -> None:
    with pytest.raises(TrainingError, match="convex='cubic', expected one of logistic, hinge"):
        gpo(pairs(PAIR), beta=0.5, convex="cubic")


def test_hinge() -> None:
    # margins 1 and 5 at beta 1/2: max(0, 1/2) and max(0, -3/2)
    assert_close(float(hinge(pairs([1.0, 0.0, 5.0, 0.0]), beta=0.5).loss), 0.25)


def test_ipo_of_sums_and_of_means() -> None:
    # target 1 / (2 * 1/4) = 2 nats. Sums: margin 3 - (-1) = 4. Means over 3 and 2 tokens: 1 + 1/2
    made = pairs([3.0, -1.0], loss_tokens=[3, 2])
    assert_close(float(ipo(made, beta=0.25, per_token=False).loss), 4.0)
    assert_close(float(ipo(made, beta=0.25, per_token=True).loss), 0.25)


def test_dpop() -> None:
    # chosen fell by 1, margin -1 + 4 = 3; beta 1/2, penalty 2: s((3 - 2) / 2)
    loss = dpop(pairs([-1.0, -4.0]), beta=0.5, penalty=2.0).loss
    assert_close(float(loss), math.log(1 + math.exp(-0.5)))


def test_dpop_is_dpo_while_chosen_has_not_fallen() -> None:
    made = pairs([0.1, -4.0])
    assert_close(dpop(made, beta=0.5, penalty=50.0).loss, dpo(made, beta=0.5).loss)


def test_r_dpo_has_less_to_learn_where_chosen_is_longer() -> None:
    # beta m = 0, alpha (5 - 2) = log 3: s = 3/4, or 1/4 the other way round
    objective = partial(r_dpo, beta=0.5, alpha=LOG3 / 3)
    longer = pairs([0.0, 0.0], loss_tokens=[5, 2])
    shorter = pairs([0.0, 0.0], loss_tokens=[2, 5])
    assert_close(float(objective(longer).loss), math.log(4 / 3))
    assert_close(float(objective(shorter).loss), math.log(4))
    # -beta s(-x): 1/8 and 3/8
    assert_close(float(gradient(objective, longer)[0]), -0.125)
    assert_close(float(gradient(objective, shorter)[0]), -0.375)


def test_simpo() -> None:
    # means -2/2 and -6/3 differ by 1; beta 2, gamma 2 - log 3: s(log 3) = 3/4
    made = without_reference(-2.0, -6.0, (2, 3))
    assert_close(float(simpo(made, beta=2.0, gamma=2 - LOG3).loss), math.log(4 / 3))


def test_cpo() -> None:
    # beta (-2 + 6) = 2 log 3 / ... at beta = log 3 / 4: s(log 3) = 3/4; nll 2 / 4 tokens, weight 3
    made = without_reference(-2.0, -6.0, (4, 1))
    loss = cpo(made, beta=LOG3 / 4, nll_weight=3.0).loss
    assert_close(float(loss), math.log(4 / 3) + 1.5)


def test_slic() -> None:
    # max(0, 1 + 2 - 5/2) = 1/2 and max(0, 1 + 2 - 9) = 0; nll (2 + 2) / (4 + 4), weight 1/10
    made = pairs([1.0, 0.5, 1.0, -6.0], loss_tokens=[4, 1, 4, 1])
    assert_close(float(slic(made, delta=1.0, nll_weight=0.1).loss), 0.25 + 0.05)


def test_orpo() -> None:
    # mean log-probs log 3/4 and log 1/4: odds 3 and 1/3, log odds ratio log 9: s = 9/10
    made = without_reference(2 * math.log(0.75), 3 * math.log(0.25), (2, 3))
    output = orpo(made, beta=0.5)
    assert_close(float(output.loss), math.log(4 / 3) + 0.5 * math.log(10 / 9))
    assert output.metrics["log_odds_ratio"] == pytest.approx(LOG9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log1mexp_at_both_ends(dtype: torch.dtype) -> None:
    x = torch.tensor([-1e-6, -math.log(2), -1.0, -50.0, -1e30, -math.inf], dtype=dtype)
    x.requires_grad_()
    found = log1mexp(x)
    # 1 - e^-x is x for small x and 1 for large; 1/2 at log 2
    wanted = [math.log(1e-6), -math.log(2), math.log1p(-math.exp(-1)), -math.exp(-50), 0.0, 0.0]
    assert_close(found, torch.tensor(wanted, dtype=dtype), rtol=1e-5, atol=1e-6)
    (slope,) = torch.autograd.grad(found.sum(), x)
    # -e^x / (1 - e^x)
    assert_close(slope[0], torch.tensor(-1e6, dtype=dtype), rtol=1e-4, atol=0)
    assert slope[-2:].tolist() == [0, 0]
    assert torch.isfinite(slope).all()


def test_preferred_sft() -> None:
    # chosen: -2 over 4 tokens and -4 over 2: (2 + 4) / (4 + 2); rejected and tied count nowhere
    made = branches([1.0, 9.0, -1.0, 5.0], [1.0, 0.0, 0.8, 0.5], loss_tokens=[4, 7, 2, 7])
    assert_close(float(preferred_sft(made).loss), 1.0)


def test_preferred_sft_of_nothing_preferred_is_zero() -> None:
    made = branches([1.0, 2.0], [0.5, 0.2])
    assert float(preferred_sft(made).loss) == 0.0
    part = replace(made, chosen_tokens_per_branch=0.0)
    assert float(preferred_sft(part).loss) == 0.0
