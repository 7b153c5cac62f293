"""What holds for every objective: gradients, order, parts of a batch, ties, lengths, extremes."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from envs.errors import ConfigError, TrainingError
from tests.training.methods.objectives.builders import (
    ANY_GROUPS,
    EVERY,
    OPTIONS,
    REFERENCE_FREE,
    Everything,
    batch_for,
    frozen,
    gradient,
    groups,
    measured,
    select,
)
from training.methods.objectives import OBJECTIVES, make_objective
from training.methods.objectives.base import Stateful
from training.methods.objectives.types import TurnLogps, join

ratios = st.floats(-20, 20, allow_nan=False)
RATIOS = [0.7, -0.4, -2.0, 1.5, 0.2, 0.9]

STATEFUL = [name for name, spec in OBJECTIVES.items() if spec.advance is not None]
MEASURING = [name for name, spec in OBJECTIVES.items() if spec.measures]


def as_type(made: Everything, dtype: torch.dtype) -> Everything:
    """The same with all that is not a count in another precision."""
    values = {f.name: getattr(made, f.name) for f in fields(made)}
    floats = {n: v for n, v in values.items() if torch.is_tensor(v) and v.is_floating_point()}
    changed: dict[str, Any] = {name: value.to(dtype) for name, value in floats.items()}
    return replace(made, **changed)


@EVERY
def test_gradient_agrees_with_finite_differences(name: str) -> None:
    def loss(log_ratio_B: Tensor) -> Tensor:
        return frozen(name)(measured(log_ratio_B)).loss

    log_ratio_B = torch.tensor(RATIOS[:4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (log_ratio_B,))


@EVERY
def test_a_step_from_the_reference_raises_chosen_and_lowers_rejected(name: str) -> None:
    found = gradient(frozen(name), measured([0.0, 0.0, 0.0, 0.0]))
    assert (found[0::2] < 0).all()
    assert (found[1::2] == 0).all() if name == "preferred_sft" else (found[1::2] > 0).all()


@EVERY
@pytest.mark.parametrize("log_ratio", [[1e4, -1e4], [-1e4, 1e4]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_log_ratios_stay_finite(
    name: str, log_ratio: list[float], dtype: torch.dtype
) -> None:
    made = as_type(measured(log_ratio), dtype)
    assert torch.isfinite(frozen(name)(made).loss)
    assert torch.isfinite(gradient(frozen(name), made)).all()


BOUNDLESS = {"cdpo", "inpo", "ipo", "robust_dpo", "sppo", "sppo_pair"}
"""Objectives that want a rejected branch less probable, but not by how much you like."""


@EVERY
def test_an_impossible_rejected_branch_is_a_limit_or_no_number(name: str) -> None:
    """What is not finite is refused by the update; it must not look like one."""
    made = measured([0.5, -math.inf])
    loss = frozen(name)(made).loss
    if name in BOUNDLESS:
        assert not torch.isfinite(loss)
    else:
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient(frozen(name), made)).all()
        assert_close(loss, frozen(name)(measured([0.5, -1e7])).loss)


@EVERY
def test_an_impossible_chosen_branch_is_a_saturated_loss_or_no_number(name: str) -> None:
    loss = frozen(name)(measured([-math.inf, 0.5])).loss
    if name == "kto":  # (1 - s(-inf) + 1.2 s(.3 (.5 - .2))) / 2
        assert_close(float(loss), (1 + 1.2 / (1 + math.exp(-0.09))) / 2)
    else:
        assert not torch.isfinite(loss)


@EVERY
def test_a_branch_without_tokens_is_a_number(name: str) -> None:
    """No branch of a packed batch is empty, but a mean over none must not poison a gradient."""
    made = replace(
        measured([0.0, 0.0, 0.3, -0.2], loss_tokens=[0, 0, 5, 4]),
        turns_B=torch.tensor([0, 0, 2, 1]),
    )
    empty = torch.tensor([True, True, False, False])
    made = replace(
        made,
        policy_logps_B=made.policy_logps_B.masked_fill(empty, 0),
        reference_logps_B=made.reference_logps_B.masked_fill(empty, 0),
        policy_turn_logps_BT=torch.zeros(4, 2, dtype=torch.float64),
        reference_turn_logps_BT=torch.zeros(4, 2, dtype=torch.float64),
    )
    assert torch.isfinite(frozen(name)(made).loss)
    assert torch.isfinite(gradient(frozen(name), made)).all()


@EVERY
def test_very_long_branches_stay_finite(name: str) -> None:
    """A million tokens at two nats each; a float32 then still resolves an eighth of a nat."""
    made = measured([1.0, -1.0], loss_tokens=[1_000_000, 900_000])
    shift = torch.tensor([-2e6, -1.8e6], dtype=torch.float64)
    made = replace(
        made,
        policy_logps_B=made.policy_logps_B + shift,
        reference_logps_B=made.reference_logps_B + shift,
    )
    for dtype in (torch.float32, torch.float64):
        assert torch.isfinite(frozen(name)(as_type(made, dtype)).loss)
        assert torch.isfinite(gradient(frozen(name), as_type(made, dtype))).all()
    if name not in REFERENCE_FREE | {"r_dpo"}:
        here, there = frozen(name)(made).loss, frozen(name)(measured([1.0, -1.0])).loss
        if name != "inpo":  # its anchor did not move along
            assert_close(here, there)


@EVERY
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_the_order_of_pairs_does_not_matter(name: str, data: st.DataObject) -> None:
    laid_out = data.draw(st.lists(st.tuples(ratios, ratios), min_size=1, max_size=5))
    made = measured([ratio for pair in laid_out for ratio in pair])
    order = data.draw(st.permutations(range(len(laid_out))))
    shuffled = select(made, [2 * k + side for k in order for side in (0, 1)])
    first, second = frozen(name)(made), frozen(name)(shuffled)
    assert_close(first.loss, second.loss)
    assert first.metrics == pytest.approx(second.metrics)


@EVERY
@settings(deadline=None, max_examples=20)
@given(pair=st.tuples(ratios, ratios), shift=ratios)
def test_only_the_log_ratio_matters_where_there_is_a_reference(
    name: str, pair: tuple[float, float], shift: float
) -> None:
    made = measured(pair)
    shifted = replace(
        made,
        policy_logps_B=made.policy_logps_B + shift,
        reference_logps_B=made.reference_logps_B + shift,
        policy_turn_logps_BT=made.policy_turn_logps_BT + shift,
        reference_turn_logps_BT=made.reference_turn_logps_BT + shift,
        anchor_logps_B=made.anchor_logps_B + shift,
    )
    if name not in REFERENCE_FREE:
        assert_close(frozen(name)(made).loss, frozen(name)(shifted).loss)
        return
    elsewhere = replace(made, reference_logps_B=made.reference_logps_B + shift)
    assert_close(frozen(name)(made).loss, frozen(name)(elsewhere).loss)


@EVERY
@pytest.mark.parametrize("cuts", [(2,), (2, 4), (4,)])
def test_parts_of_a_batch_add_up_to_it(name: str, cuts: tuple[int, ...]) -> None:
    """Losses and gradients, with the state of the whole batch and parts weighted by branches."""
    whole = measured(RATIOS, loss_tokens=[3, 1, 2, 5, 9, 2])
    made, objective = make_objective(name, **OPTIONS[name]), frozen(name)
    if isinstance(made, Stateful):
        objective = frozen(name, made.advance(batch_for(name, whole), {}))
    edges = [0, *cuts, 6]
    share = (3 + 2 + 9) / 6  # loss tokens of chosen branches by number of branches
    parts = [
        replace(select(whole, range(a, b)), chosen_tokens_per_branch=share)
        for a, b in pairwise(edges)
    ]
    weights = [len(part.win_prob_B) / 6 for part in parts]
    total = sum(w * objective(part).loss for w, part in zip(weights, parts, strict=True))
    assert_close(total, objective(whole).loss)
    pieces = [w * gradient(objective, part) for w, part in zip(weights, parts, strict=True)]
    assert_close(torch.cat(pieces), gradient(objective, whole))


@pytest.mark.parametrize("name", STATEFUL)
def test_a_state_does_not_depend_on_the_order_or_on_who_holds_which_part(name: str) -> None:
    made = make_objective(name, **OPTIONS[name])
    assert isinstance(made, Stateful)
    whole = measured(RATIOS)
    parts = [select(whole, [4, 5, 0, 1]), select(whole, [2, 3])]
    again = join([batch_for(name, part) for part in parts])
    before = made.advance(batch_for(name, measured([0.3, -0.3])), {})
    state = made.advance(batch_for(name, whole), before)
    assert state == pytest.approx(dict(made.advance(again, before)))
    assert all(type(value) is float for value in state.values())


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - ANY_GROUPS - {"sppo_pair"}))
def test_what_is_no_pair_is_refused(name: str) -> None:
    tie = measured([0.1, 0.2], win_prob=[0.5, 0.5])
    with pytest.raises(TrainingError, match=r"win_prob 0.5 at branch 0, expected 1 "):
        frozen(name)(tie)


@pytest.mark.parametrize("name", ["bco", "kto", "preferred_sft"])
def test_ties_neither_rise_nor_fall(name: str) -> None:
    made = measured([0.4, 1.0, -1.0, 0.2], win_prob=[0.5, 0.9, 0.1, 0.5])
    found = gradient(frozen(name), made)
    assert found[0] == found[3] == 0
    assert found[1] < 0


@pytest.mark.parametrize("name", ["sppo", "inpo"])
def test_ties_are_drawn_together(name: str) -> None:
    """Groups whose branches tie: the one that has risen falls, the one that has fallen rises."""
    found = gradient(frozen(name), measured([0.4, -0.4], win_prob=[0.5, 0.5]))
    assert found[0] > 0 > found[1]


@pytest.mark.parametrize("name", MEASURING)
def test_what_was_not_measured_is_missed(name: str) -> None:
    made = make_objective(name, **OPTIONS[name])
    ask = (lambda b: made.advance(b, {})) if isinstance(made, Stateful) else made
    with pytest.raises(TrainingError, match="expected it to be measured"):
        ask(groups([0.1, 0.2]))


def test_options_are_those_of_the_objective_and_of_its_state() -> None:
    assert set(OBJECTIVES["kto"].option_names) == {"beta", "chosen_weight", "rejected_weight"}
    assert set(OBJECTIVES["bco"].option_names) == {"beta", "momentum"}
    assert {name: set(OPTIONS[name]) for name in OBJECTIVES} == {
        name: set(spec.option_names) for name, spec in OBJECTIVES.items()
    }


@pytest.mark.parametrize("options", [{}, {"beta": 0.1, "eta": 1.0}])
def test_too_few_options_and_too_many_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"expected exactly \['beta'\]; see conf/objective/dpo"):
        make_objective("dpo", **options)


def test_parts_with_fewer_turns_join_those_with_more() -> None:
    one = measured([0.1, 0.2])
    longer = torch.ones(2, 3, dtype=torch.float64)
    other = replace(one, policy_turn_logps_BT=longer, reference_turn_logps_BT=longer)
    both = join([batch_for("dmpo", one), batch_for("dmpo", other)]).branches
    assert isinstance(both, TurnLogps)
    assert both.policy_turn_logps_BT.shape == (4, 3)
    assert both.policy_turn_logps_BT[:2, 2].tolist() == [0, 0]
    lacking = join([batch_for("tdpo1", one), batch_for("dpo", one)])
    assert not hasattr(lacking.branches, "kl_B")
