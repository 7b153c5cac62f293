"""KTO, BCO and beta-DPO: the numbers that they carry, and the losses that follow from them."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from tests.training.methods.objectives.builders import branches, pairs
from training.methods.objectives.beta_dpo import beta_dpo, beta_dpo_state
from training.methods.objectives.binary import bco, bco_state, kto, kto_state
from training.methods.objectives.dpo import dpo
from training.methods.objectives.types import MismatchedLogps, extended

WEIGHTS = {"chosen_weight": 1.0, "rejected_weight": 1.0}


def mismatched(*log_ratio: float) -> MismatchedLogps:
    ratio_M = torch.tensor(log_ratio)
    return extended(branches([0.0, 0.0]), MismatchedLogps, mismatched_log_ratio_M=ratio_M)


def test_kto_by_hand() -> None:
    # beta 1/2, z 1: good at 1 + log 9: 1 - s(log 3) = 1/4; bad at 1 - log 9: 1 - s(log 3) = 1/4
    made = branches([1 + math.log(9), 1 - math.log(9), 5.0], [0.9, 0.2, 0.5])
    assert_close(float(kto(made, state={"kl": 1.0}, beta=0.5, **WEIGHTS).loss), 0.5 / 3)
    loss = kto(made, state={"kl": 1.0}, beta=0.5, chosen_weight=2.0, rejected_weight=4.0).loss
    assert_close(float(loss), (2 / 4 + 4 / 4) / 3)


def test_kto_measures_its_kl_baseline_on_mismatched_completions() -> None:
    assert kto_state(mismatched(0.5, 1.5), {"kl": 9.0}) == {"kl": 1.0}
    assert kto_state(mismatched(0.5, -1.5), {}) == {"kl": 0.0}


def test_bco_by_hand() -> None:
    # beta 1/2, d 1: good at 2 + log 9: -log s(log 3); bad at 2 - log 9: -log s(log 3); a tie: 0
    made = branches([2 + math.log(9), 2 - math.log(9), 7.0, 7.0], [0.9, 0.2, 0.5, 0.5])
    assert_close(float(bco(made, state={"delta": 1.0}, beta=0.5).loss), math.log(4 / 3) / 2)


def test_bco_shifts_by_a_running_mean_of_rewards() -> None:
    # beta 1/2: rewards 2 and 1, the tie left out: mean 3/2 is the first delta
    first = bco_state(branches([4.0, 2.0, 99.0], [1.0, 0.0, 0.5]), {}, beta=0.5, momentum=0.75)
    assert first == {"delta": 1.5}
    # then rewards -1 and 0: 3/4 * 3/2 - 1/4 * 1/2
    then = bco_state(branches([-2.0, 0.0]), first, beta=0.5, momentum=0.75)
    assert then == {"delta": 1.0}
    nothing_decided = bco_state(branches([3.0], [0.5]), then, beta=0.5, momentum=0.75)
    assert nothing_decided == then


def state_of(margins: list[float], before: float, keep: float) -> dict[str, float]:
    made = pairs([side for margin in margins for side in (margin, 0.0)])
    state = beta_dpo_state(made, {"margin": before}, beta=0.5, alpha=0.6, momentum=0.75, keep=keep)
    return dict(state)


def test_beta_follows_the_margin_of_the_batch() -> None:
    # M0 = 3/4 * 1 + 1/4 * 5 = 2; batch mean 5: beta = 1/2 (1 + 0.6 * 3)
    state = state_of([4.0, 6.0], before=1.0, keep=1.0)
    assert (state["margin"], state["beta"]) == (2.0, pytest.approx(1.4))
    assert state["kept_share"] == 1
    # M0 = 3/4 * 100 - 1/4 * 20: beta would be far below 0
    assert state_of([-20.0], before=100.0, keep=1.0)["beta"] == 1e-3


def test_the_filter_leaves_the_farthest_pairs_out() -> None:
    # mean 3 = M0; distances 2, 1, 0, 1, 4 ... at 4 of 5, the 7 goes; the kept mean is 2
    state = state_of([1.0, 2.0, 3.0, 2.0, 7.0], before=3.0, keep=0.8)
    assert state["margin"] == 3.0
    assert state["kept_share"] == 0.8
    assert state["cutoff"] == pytest.approx(2.0, rel=1e-4)
    assert state["beta"] == pytest.approx(0.5 * (1 + 0.6 * (2 - 3)))


def test_beta_dpo_is_dpo_on_what_is_kept_at_the_beta_of_the_batch() -> None:
    state = state_of([1.0, 2.0, 3.0, 2.0, 7.0], before=3.0, keep=0.8)
    made = pairs([1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 2.0, 0.0, 7.0, 0.0])
    output = beta_dpo(made, state=state)
    kept = pairs([1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 2.0, 0.0])
    assert_close(output.loss, dpo(kept, beta=state["beta"]).loss)
    assert output.metrics["beta"] == state["beta"]


def test_the_running_margin_starts_at_nothing() -> None:
    state = beta_dpo_state(pairs([4.0, 0.0]), {}, beta=0.5, alpha=0.6, momentum=0.9, keep=0.8)
    assert state["margin"] == pytest.approx(0.4)
    assert state["kept_share"] == 1, "the only pair is kept"
