"""What updates measure for objectives on a real model: turns, KL, KL baseline, anchors, states."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import LlamaForCausalLM

from tests.tiny_models import gradients, one_layer, weights
from tests.training.methods.objectives.builders import EVERY, OPTIONS
from training.config import UpdateConfig
from training.learning.batch import Batch
from training.learning.packing import columns, measure, pack
from training.learning.reference import (
    Mismatched,
    Reference,
    mismatched_completions,
    reference_pass,
)
from training.learning.update import UpdateReport, update
from training.methods.objectives import OBJECTIVES, make_objective
from training.methods.objectives.types import Groups, MismatchedLogps, State
from training.methods.records import BranchTokens, Example
from training.storage.checkpoint import save_checkpoint

VOCABULARY = 19
BASE = UpdateConfig(
    learning_rate=1e-2,
    schedule="constant",
    batch_examples=3,
    max_grad_norm=1e9,
    min_rejected_log_ratio=None,
)


def llama(seed: int) -> LlamaForCausalLM:
    return one_layer(seed, vocabulary=VOCABULARY, positions=64)


def branch(turns: list[list[int]], win_prob: float) -> BranchTokens:
    """Own turns with two tokens of the partner between them."""
    ids: list[int] = []
    mask: list[bool] = []
    for number, own in enumerate(turns):
        if number:
            ids += [17, 18]
            mask += [False, False]
        ids += own
        mask += [True] * len(own)
    return BranchTokens(tuple(ids), tuple(mask), win_prob)


EXAMPLES = [
    Example("a", (1, 2, 3), (branch([[4, 5], [6]], 1.0), branch([[7], [8, 9], [3]], 0.0))),
    Example("b", (2, 9), (branch([[1, 1, 4]], 1.0), branch([[5]], 0.0))),
    Example("c", (8, 8, 1, 3), (branch([[2], [3, 3]], 1.0), branch([[6, 1], [2]], 0.0))),
    Example("d", (5,), (branch([[9, 2]], 1.0), branch([[4, 4, 4]], 0.0))),
    Example("e", (6, 3, 2), (branch([[1], [7]], 1.0), branch([[2], [8]], 0.0))),
]


def next_logps(model: LlamaForCausalLM, ids: list[int]) -> Tensor:
    """Log-probs over the vocabulary behind each prefix of one separate sequence; (T, V)."""
    return model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)


def turn_logps(model: LlamaForCausalLM, trunk: tuple[int, ...], made: BranchTokens) -> list[float]:
    """By hand: log-probs of each unbroken run of loss tokens."""
    ids = [*trunk, *made.token_ids]
    logps_TV, turns = next_logps(model, ids), []
    for place, has_loss in enumerate(made.loss_mask):
        if not has_loss:
            continue
        if place == 0 or not made.loss_mask[place - 1]:
            turns.append(0.0)
        at = len(trunk) + place
        turns[-1] += float(logps_TV[at - 1, ids[at]].detach())
    return turns


def ask(model: LlamaForCausalLM, name: str, token_budget: int = 8192) -> Reference:
    return reference_pass(
        model,
        EXAMPLES,
        token_budget=token_budget,
        measures=OBJECTIVES[name].measures,
        anchor=llama(5),
    )


def run(
    model: LlamaForCausalLM,
    name: str,
    config: UpdateConfig = BASE,
    seed: int = 0,
    state: State | None = None,
    reference: Reference | None = None,
) -> tuple[UpdateReport, list[Tensor]]:
    """Update in place; the report, and the gradient of each step."""
    found: list[Tensor] = []

    def on_step(_: object) -> None:
        found.append(gradients(model))

    report = update(
        model,
        reference or ask(model, name),
        EXAMPLES,
        objective=make_objective(name, **OPTIONS[name]),
        config=config,
        seed=seed,
        on_step=on_step,
        state=state,
    )
    return report, found


def test_turns_are_those_of_separate_sequences() -> None:
    model = llama(1)
    (packed,) = pack(EXAMPLES, 1000)
    found = measure(model, packed)
    row = 0
    for index in packed.example_indices:
        for made in EXAMPLES[index].branches:
            wanted = turn_logps(model, EXAMPLES[index].trunk_ids, made)
            assert int(packed.turns_B[row]) == len(wanted)
            assert_close(
                found.turn_logps_BT[row].tolist(),
                wanted + [0.0] * (3 - len(wanted)),
                rtol=1e-5,
                atol=1e-5,
            )
            assert found.logps_B[row].item() == pytest.approx(sum(wanted), abs=1e-5)
            row += 1


def test_kl_is_that_of_separate_sequences_and_moves_the_policy_alone() -> None:
    model, other = llama(1), llama(2)
    packed = pack(EXAMPLES[:1], 1000)[0]
    found = measure(model, packed, kl_from=other)
    trunk, made = EXAMPLES[0].trunk_ids, EXAMPLES[0].branches[0]
    ids, wanted = [*trunk, *made.token_ids], torch.zeros((), dtype=torch.float64)
    for place, has_loss in enumerate(made.loss_mask):
        if has_loss:
            at = len(trunk) + place - 1
            p, q = next_logps(model, ids)[at], next_logps(other, ids)[at]
            wanted = wanted + (q.exp() * (q - p)).sum()
    assert found.kl_B is not None
    assert_close(found.kl_B[0], wanted, rtol=1e-5, atol=1e-5)
    found.kl_B.sum().backward()
    assert all(parameter.grad is None for parameter in other.parameters())
    assert any(bool(p.grad.any()) for p in model.parameters() if p.grad is not None)
    with torch.no_grad():
        itself = measure(model, packed, kl_from=model).kl_B
    assert itself is not None
    assert_close(itself, torch.zeros(2, dtype=torch.float64))


def test_mismatched_completions_are_those_of_the_next_example_of_both_kinds() -> None:
    found = mismatched_completions(EXAMPLES[:3])
    assert [example.trunk_ids for example in found] == [(1, 2, 3), (2, 9), (8, 8, 1, 3)]
    assert [example.branches for example in found] == [
        (EXAMPLES[1].branches[0],),
        (EXAMPLES[2].branches[1],),
        (EXAMPLES[0].branches[0],),
    ]


def test_mismatched_completions_that_fit_no_budget_are_left_out() -> None:
    longest = max(columns(example) for example in EXAMPLES)
    made = [*EXAMPLES, Example("f", tuple([1] * longest), (branch([[2]], 1.0),))]
    budget = max(columns(example) for example in made)
    reference = reference_pass(llama(1), made, token_budget=budget, measures="mismatched")
    assert isinstance(reference.measured, Mismatched)
    assert [e is None for e in reference.measured.examples] == [False] * 5 + [True]


def test_the_kl_baseline_of_a_policy_that_is_its_reference_is_zero() -> None:
    model = llama(1)
    seen = Batch(model, ask(model, "kto"), EXAMPLES, [0, 3, 4], BASE).measure().branches
    assert isinstance(seen, MismatchedLogps)
    assert seen.mismatched_log_ratio_M.shape == (3,)
    assert_close(seen.mismatched_log_ratio_M, torch.zeros(3, dtype=torch.float64))
    assert_close(seen.log_ratio_B, torch.zeros(6, dtype=torch.float64))
    other = Batch(llama(2), ask(model, "kto"), EXAMPLES, [0, 3, 4], BASE).measure().branches
    mismatched = mismatched_completions(EXAMPLES)
    wanted = [
        sum(turn_logps(llama(2), mismatched[i].trunk_ids, mismatched[i].branches[0]))
        - sum(turn_logps(model, mismatched[i].trunk_ids, mismatched[i].branches[0]))
        for i in (0, 3, 4)
    ]
    assert isinstance(other, MismatchedLogps)
    assert_close(other.mismatched_log_ratio_M.tolist(), wanted, rtol=1e-4, atol=1e-4)


@EVERY
@pytest.mark.parametrize("token_budget", [16, 30])
def test_the_gradient_does_not_depend_on_the_split(name: str, token_budget: int) -> None:
    """Batch statistics too: a running margin, a filter, a shift, a reference point, an nll."""
    config = replace(BASE, batch_examples=5, nll_weight=0.1)
    start, reference = llama(1), ask(llama(3), name)
    whole, split = copy.deepcopy(start), copy.deepcopy(start)
    one, (gradient,) = run(whole, name, config, reference=reference)
    small = replace(config, token_budget=token_budget)
    other, (parts,) = run(split, name, small, reference=reference)
    assert len(pack(EXAMPLES, token_budget)) > 1
    assert float(gradient.norm()) > 1e-3
    # Llama's norms round to float32 in between, whatever the model's precision
    assert_close(parts, gradient, rtol=1e-4, atol=1e-5)
    assert other.loss_first == pytest.approx(one.loss_first, rel=1e-5)
    assert dict(other.state) == pytest.approx(dict(one.state), rel=1e-4, abs=1e-5)


@EVERY
def test_an_update_lowers_the_loss(name: str) -> None:
    model = llama(1)
    config = replace(BASE, batch_examples=5, epochs=8, learning_rate=2e-3)
    report, _ = run(model, name, config)
    assert math.isfinite(report.last["loss"])
    # a moving beta or shift moves the loss itself, so these are judged by what they are for
    if OBJECTIVES[name].advance is not None:
        assert report.last["margin"] > 0
    else:
        assert report.last["loss"] < report.loss_first


@EVERY
def test_tokens_outside_the_mask_carry_no_loss(name: str) -> None:
    """What the partner says last is behind all loss tokens, so it may be anything."""
    model, found = llama(1), []
    for tail in ((), (17,), (4, 4, 4)):
        made = [
            replace(e, branches=tuple(_with_tail(b, tail) for b in e.branches)) for e in EXAMPLES
        ]
        measures = OBJECTIVES[name].measures
        reference = reference_pass(llama(3), made, measures=measures, anchor=llama(5))
        whole = Batch(model, reference, made, range(5), BASE).measure()
        objective = make_objective(name, **OPTIONS[name])
        if OBJECTIVES[name].advance is not None:
            assert not callable(objective)
            found.append(objective.loss(whole, objective.advance(whole, {})).loss)
        else:
            assert callable(objective)
            found.append(objective(whole).loss)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def _with_tail(made: BranchTokens, tail: tuple[int, ...]) -> BranchTokens:
    mask = made.loss_mask + (False,) * len(tail)
    return BranchTokens(made.token_ids + tail, mask, made.win_prob)


@pytest.mark.parametrize("name", ["bco", "beta_dpo"])
def test_a_state_goes_from_update_to_update(name: str) -> None:
    first, _ = run(llama(1), name, reference=ask(llama(3), name))
    again, _ = run(llama(1), name, reference=ask(llama(3), name))
    after, _ = run(llama(1), name, reference=ask(llama(3), name), state=first.state)
    assert first.state == again.state
    assert first.state, "it is not empty"
    assert after.state != first.state


@pytest.mark.parametrize("name", ["beta_dpo", "bco", "kto", "sdpo"])
def test_a_run_that_was_stopped_between_updates_ends_in_the_same_weights(
    name: str, tmp_path: Path
) -> None:
    """Two updates in one process against two with a checkpoint and a fresh start in between."""
    tokenizer = _NoTokenizer()
    straight = llama(1).float()
    first, _ = run(straight, name, seed=1)
    folder = save_checkpoint(
        tmp_path / "0001", straight, tokenizer, {"iteration": 1, "objective": dict(first.state)}
    )
    second, _ = run(straight, name, seed=2, state=first.state)

    state = json.loads((folder / "trainer_state.json").read_text())["objective"]
    resumed = LlamaForCausalLM.from_pretrained(folder).eval()
    third, _ = run(resumed, name, seed=2, state=state)
    assert torch.equal(weights(resumed), weights(straight))
    assert third.state == second.state
    if name in ("beta_dpo", "bco"):
        forgetful = LlamaForCausalLM.from_pretrained(folder).eval()
        run(forgetful, name, seed=2)
        assert not torch.equal(weights(forgetful), weights(straight)), "the state matters"


class _NoTokenizer:
    def save_pretrained(self, folder: Path) -> None:
        """There are ids only."""


def test_a_plain_objective_has_no_state_and_costs_no_second_pass() -> None:
    seen: list[Groups] = []
    objective = make_objective("sdpo", beta=0.3)
    assert callable(objective)

    def spy(given: Groups) -> object:
        seen.append(given)
        return objective(given)

    model = llama(1)
    report = update(
        model,
        ask(model, "sdpo"),
        EXAMPLES,
        objective=spy,  # type: ignore[arg-type]
        config=replace(BASE, batch_examples=5),
        seed=0,
    )
    assert report.state == {}
    assert [given.branches.policy_logps_B.requires_grad for given in seen] == [True, False]
