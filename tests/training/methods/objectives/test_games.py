"""Preferences that go round in a circle: who finds the mixed equilibrium, and who does not.

Three actions, each of which beats one and loses to one; a softmax policy over them, and every
objective in exact expectation, minimised to the end in each round.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from training.methods.objectives.dpo import dpo
from training.methods.objectives.nash import inpo
from training.methods.objectives.sppo import sppo
from training.methods.objectives.types import (
    AnchorLogps,
    Groups,
    ObjectiveOutput,
    Pairs,
    pairs_of,
)

ACTIONS = 3
BEATS = torch.tensor([[0.5, 0.9, 0.3], [0.1, 0.5, 0.8], [0.7, 0.2, 0.5]], dtype=torch.float64)
"""P[a, b]: how often a beats b. 0 beats 1 beats 2 beats 0, by unequal margins."""

EQUILIBRIUM = torch.tensor([0.3, 0.2, 0.4], dtype=torch.float64) / 0.9
"""Each action as often as the other two differ: 1 and 2 by 0.3, 2 and 0 by 0.2, 0 and 1 by 0.4."""

FIRST = torch.tensor([0.0, 1.0, -0.5], dtype=torch.float64).log_softmax(0)
"""A policy that is far from the equilibrium, and not from the middle."""

Step = Callable[[Tensor, Tensor], Tensor]
"""(policy's log-probs, those of the round before) -> the expected loss, a scalar."""


def record(logps_B: Tensor, before_B: Tensor, win_prob_B: Tensor) -> AnchorLogps:
    return AnchorLogps(
        policy_logps_B=logps_B,
        reference_logps_B=before_B,
        win_prob_B=win_prob_B,
        loss_tokens_B=torch.ones(len(logps_B)),
        anchor_logps_B=torch.full_like(logps_B, -3.0).log_softmax(0),
    )


def expected_sppo(eta: float) -> Step:
    """Each action as often as the policy plays it, with its win rate against the policy."""

    def loss(logps_A: Tensor, before_A: Tensor) -> Tensor:
        win_rate_A = BEATS @ before_A.exp()
        terms = []
        for a in range(ACTIONS):
            one = record(logps_A[a : a + 1], before_A[a : a + 1], win_rate_A[a : a + 1])
            terms.append(before_A[a].exp() * sppo(one, eta=eta).loss)
        return torch.stack(terms).sum()

    return loss


def expected_pairs(objective: Callable[[Pairs], ObjectiveOutput]) -> Step:
    """Both actions as the policy plays them, the winner chosen as often as it wins."""

    def loss(logps_A: Tensor, before_A: Tensor) -> Tensor:
        terms = []
        for a in range(ACTIONS):
            for b in range(ACTIONS):
                sides = torch.tensor([a, b])
                pair = record(logps_A[sides], before_A[sides], torch.tensor([1.0, 0.0]).double())
                weight = (before_A[a] + before_A[b]).exp() * BEATS[a, b]
                terms.append(weight * objective(pairs_of(pair)).loss)
        return torch.stack(terms).sum()

    return loss


def expected_inpo(eta: float, anchor_weight: float) -> Step:
    """The whole group at once: its branches are all the actions that there are."""
    objective = partial(inpo, eta=eta, anchor_weight=anchor_weight)

    def loss(logps_A: Tensor, before_A: Tensor) -> Tensor:
        actions = record(logps_A, before_A, BEATS @ before_A.exp())
        return objective(Groups(actions, torch.zeros(ACTIONS))).loss

    return loss


def minimise(step: Step, before_A: Tensor) -> Tensor:
    """Log-probs of the softmax policy at which the expected loss is least."""
    logits_A = before_A.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([logits_A], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = step(logits_A.log_softmax(0), before_A)
        loss.backward()
        return loss

    optimizer.step(closure)
    return logits_A.detach().log_softmax(0)


def play(step: Step, rounds: int) -> list[Tensor]:
    """The policy after each round; the reference is the round's start."""
    logps, history = FIRST, []
    for _ in range(rounds):
        logps = minimise(step, logps)
        history.append(logps.exp())
    return history


def exploitability(policy_A: Tensor) -> float:
    """By how much the best answer beats the policy; 0 at the equilibrium, at most 1/2."""
    return float((BEATS @ policy_A).max()) - 0.5


def test_the_game_is_what_it_is_said_to_be() -> None:
    assert_close(BEATS + BEATS.T, torch.ones(3, 3, dtype=torch.float64))
    assert exploitability(EQUILIBRIUM) == pytest.approx(0, abs=1e-12)
    assert exploitability(FIRST.exp()) > 0.15


def test_sppo_on_all_branches_takes_the_multiplicative_weights_step() -> None:
    """Its paper's eq. 4.2: new = old * exp(eta * win rate) / Z, up to the approximated log Z."""
    before = FIRST
    win_rate = BEATS @ before.exp()
    wanted = (before + 0.05 * win_rate).softmax(0)
    assert_close(minimise(expected_sppo(0.05), before).exp(), wanted, rtol=0, atol=1e-3)


def test_sppo_approaches_the_mixed_equilibrium_on_average() -> None:
    history = play(expected_sppo(1.0), rounds=300)
    average = torch.stack(history).mean(0)
    assert_close(average, EQUILIBRIUM, rtol=0, atol=0.03)
    assert exploitability(average) < 0.02
    # but it goes round in circles: each single iterate can be beaten
    assert min(map(exploitability, history[-50:])) > 0.1


def test_the_anchored_step_converges_in_its_last_iterate() -> None:
    history = play(expected_inpo(0.3, anchor_weight=0.02), rounds=250)
    assert exploitability(history[-1]) < 0.02
    assert_close(history[-1], EQUILIBRIUM, rtol=0, atol=0.05)
    assert_close(history[-1], history[-2], rtol=0, atol=1e-3)


def test_without_an_anchor_it_circles_too() -> None:
    history = play(expected_inpo(0.3, anchor_weight=0.0), rounds=100)
    assert max(map(exploitability, history[-30:])) > 0.1


@pytest.mark.parametrize("beta", [0.1, 0.05])
def test_bradley_terry_dpo_ends_in_a_policy_that_one_action_beats(beta: float) -> None:
    """As published: pairs of the first policy, one round, to the optimum."""
    policy = minimise(expected_pairs(partial(dpo, beta=beta)), FIRST).exp()
    assert exploitability(policy) > 0.15
    assert float((policy - EQUILIBRIUM).abs().max()) > 0.3


def test_dpo_at_its_usual_strength_is_stuck_after_one_round() -> None:
    """It has all but forgotten two of the actions, so no pair shows that they would win."""
    history = play(expected_pairs(partial(dpo, beta=0.1)), rounds=60)
    assert float(history[0].max()) > 0.999
    assert_close(history[-1], history[0], rtol=0, atol=1e-6)
    assert exploitability(torch.stack(history).mean(0)) > 0.15


def test_the_size_of_the_step_separates_them_too() -> None:
    """Fresh pairs and gentle steps: to first order Bradley-Terry scores are win rates.

    So DPO's rounds circle around the same equilibrium, and SPPO's fall into a corner when its
    steps are as large as DPO's usually are.
    """
    gentle = play(expected_pairs(partial(dpo, beta=5.0)), rounds=130)
    assert exploitability(torch.stack(gentle).mean(0)) < 0.02
    harsh = play(expected_sppo(10.0), rounds=60)
    assert exploitability(torch.stack(harsh).mean(0)) > 0.1
