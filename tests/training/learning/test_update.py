"""Updates: exact gradients however a batch is split, seeds, schedules, stops and refusals."""

from __future__ import annotations

import copy
import math
import random
from dataclasses import asdict, replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import LlamaForCausalLM

from envs.errors import ConfigError, TrainingError
from envs.options import build
from tests.tiny_models import gradients, one_layer, weights
from training.config import UpdateConfig
from training.learning.reference import reference_logps, reference_pass
from training.learning.update import StepReport, UpdateReport, mean_numbers, update
from training.methods.objectives.base import Objective
from training.methods.objectives.sdpo import sdpo
from training.methods.objectives.sppo import sppo
from training.methods.objectives.types import Groups, ObjectiveOutput, pairs_of
from training.methods.records import BranchTokens, Example

VOCABULARY = 19
BASE = UpdateConfig(learning_rate=1e-2, schedule="constant", batch_examples=3, max_grad_norm=1e9)


def SDPO(batch: Groups) -> ObjectiveOutput:  # noqa: N802 (an objective with its options filled in)
    return sdpo(pairs_of(batch.branches), beta=0.5)


@pytest.fixture
def model() -> LlamaForCausalLM:
    return one_layer(1, vocabulary=VOCABULARY, positions=32)


def examples(count: int, win_probs: tuple[float, ...] = (1.0, 0.0)) -> list[Example]:
    """Random examples: trunks of 3 to 6 tokens, branches of 2 to 4, all of them with loss."""
    rng = random.Random(7)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.randrange(VOCABULARY) for _ in range(rng.randint(low, high)))

    def branch(win_prob: float) -> BranchTokens:
        token_ids = ids(2, 4)
        return BranchTokens(token_ids, (True,) * len(token_ids), win_prob)

    return [Example(f"g{i}", ids(3, 6), tuple(map(branch, win_probs))) for i in range(count)]


def alone(model: LlamaForCausalLM, example: Example) -> Tensor:
    """Log-probs of fully masked branches from separate sequences, shape (branches,)."""
    logps = []
    for branch in example.branches:
        ids = torch.tensor([[*example.trunk_ids, *branch.token_ids]])
        logps_TV = model(input_ids=ids).logits[0, len(example.trunk_ids) - 1 : -1].log_softmax(-1)
        logps.append(logps_TV[torch.arange(len(branch.token_ids)), list(branch.token_ids)].sum())
    return torch.stack(logps)


def run(
    model: LlamaForCausalLM,
    given: list[Example],
    config: UpdateConfig = BASE,
    seed: int = 0,
    objective: Objective = SDPO,
) -> tuple[UpdateReport, list[StepReport], list[Tensor]]:
    """Update in place; returns the report, every step's report and every step's gradient."""
    steps: list[StepReport] = []
    found: list[Tensor] = []

    def on_step(report: StepReport) -> None:
        steps.append(report)
        found.append(gradients(model))

    report = update(
        model,
        reference_logps(model, given),
        given,
        objective=objective,
        config=config,
        seed=seed,
        on_step=on_step,
    )
    return report, steps, found


def test_reference_logps_are_those_of_separate_sequences(model: LlamaForCausalLM) -> None:
    given = examples(5)
    found = reference_logps(model, given, token_budget=30)
    for logps, example in zip(found, given, strict=True):
        assert_close(logps, alone(model, example).detach(), rtol=1e-6, atol=1e-6)
        assert not logps.requires_grad


def test_checkpointing_changes_no_gradient_and_ends(model: LlamaForCausalLM) -> None:
    given = examples(3)
    _, _, (wanted,) = run(copy.deepcopy(model), given)
    recomputed = 0

    def count(*_: object) -> None:
        nonlocal recomputed
        recomputed += 1

    model.get_decoder().layers[0].mlp.register_forward_pre_hook(count)
    reference = reference_logps(model, given)
    config = replace(BASE, checkpointing=True)
    recomputed, found = 0, []
    update(
        model,
        reference,
        given,
        objective=SDPO,
        config=config,
        seed=0,
        on_step=lambda _: found.append(gradients(model)),
    )
    assert_close(found[0], wanted, rtol=1e-12, atol=1e-12)
    assert recomputed == 2  # forward, and again for the backward pass
    with torch.no_grad():
        model.train()(torch.tensor([[1, 2]]))
    assert recomputed == 3


def test_in_half_precision_policy_and_reference_are_rounded_alike(model: LlamaForCausalLM) -> None:
    model, given = model.float(), examples(3)
    plain = reference_pass(model, given)
    half = reference_pass(model, given, precision="bfloat16")
    assert half.logps[0].dtype == torch.float32
    # bfloat16 has 8 bits: close, and yet not the same
    assert_close(half.logps[0], plain.logps[0], rtol=2e-2, atol=0)
    assert not torch.equal(half.logps[0], plain.logps[0])
    config = replace(BASE, precision="bfloat16")
    report = update(model, half, given, objective=SDPO, config=config, seed=0)
    assert report.loss_first == pytest.approx(math.log(2), abs=1e-3)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.parametrize("token_budget", [14, 25, 1000])
@pytest.mark.parametrize("win_probs", [(1.0, 0.0), (0.9, 0.5, 0.2)])
def test_the_gradient_does_not_depend_on_the_split(
    model: LlamaForCausalLM, token_budget: int, win_probs: tuple[float, ...]
) -> None:
    """One step's gradient is that of the whole batch's mean plus weighted nll, by hand."""
    given = examples(5, win_probs)
    if len(win_probs) == 3:  # groups of unequal size: a mean over branches, not over examples
        given[0] = replace(given[0], branches=given[0].branches[:2])
    flat = [branch for example in given for branch in example.branches]
    logps_B = torch.cat([alone(model, example) for example in given])
    win_prob_B = torch.tensor([branch.win_prob for branch in flat])
    log_ratio_B = logps_B - logps_B.detach() + 0.1 * torch.arange(len(flat))
    if len(win_probs) == 2:
        objective: Objective = SDPO
        wanted = -torch.sigmoid(0.5 * (log_ratio_B[0::2] - log_ratio_B[1::2])).log().mean()
    else:
        objective = lambda batch: sppo(batch.branches, eta=2.0)  # noqa: E731
        wanted = (log_ratio_B - 2.0 * (win_prob_B - 0.5)).square().mean() / 2
    chosen = [(logp, b) for logp, b in zip(logps_B, flat, strict=True) if b.win_prob > 0.5]
    chosen_nll = -torch.stack([logp for logp, _ in chosen]).sum()
    chosen_nll = chosen_nll / sum(len(branch.token_ids) for _, branch in chosen)
    wanted = wanted + 0.3 * chosen_nll
    wanted.backward()
    wanted_gradient = gradients(model)

    # the same offsets, in the reference
    offsets = torch.split(0.1 * torch.arange(len(flat)), [len(e.branches) for e in given])
    reference = [r - o for r, o in zip(reference_logps(model, given), offsets, strict=True)]
    found: list[Tensor] = []
    report = update(
        model,
        reference,
        given,
        objective=objective,
        config=replace(BASE, batch_examples=5, token_budget=token_budget, nll_weight=0.3),
        seed=0,
        on_step=lambda _: found.append(gradients(model)),
    )
    # Llama's norms round to float32 in between, whatever the model's precision
    assert_close(found[0], wanted_gradient, rtol=1e-5, atol=1e-6)
    assert report.loss_first == pytest.approx(float(wanted.detach()), rel=1e-6)
    assert report.nll == pytest.approx(float(chosen_nll.detach()), rel=1e-6)
    assert report.grad_norm == pytest.approx(float(wanted_gradient.norm()), rel=1e-5)


def test_the_first_loss_is_log_2_and_training_separates_the_pairs(model: LlamaForCausalLM) -> None:
    config = replace(BASE, epochs=15, min_rejected_log_ratio=None)
    report, _, _ = run(model, examples(3), config)
    assert report.loss_first == pytest.approx(math.log(2))
    assert report.steps == 15
    assert report.stopped_early is None
    assert report.last["loss"] < 0.1
    assert report.last["accuracy"] == 1.0
    assert report.last["chosen_log_ratio"] > 0 > report.last["rejected_log_ratio"]
    assert report.last["margin"] > 5


def test_one_seed_gives_one_set_of_weights(model: LlamaForCausalLM) -> None:
    config = replace(BASE, epochs=2)
    results = []
    for seed in (0, 0, 1):
        policy = copy.deepcopy(model)
        report, _, _ = run(policy, examples(7), config, seed)
        results.append((weights(policy), report))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert not torch.equal(results[0][0], results[2][0])


def test_global_random_state_is_neither_used_nor_moved(model: LlamaForCausalLM) -> None:
    torch_before, python_before = torch.random.get_rng_state(), random.getstate()
    run(model, examples(4))
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    assert random.getstate() == python_before


def test_every_epoch_sees_every_example_once_in_another_order(model: LlamaForCausalLM) -> None:
    # each example's chosen win_prob is its name; sppo on single branches takes any
    given = [
        replace(example, branches=(replace(example.branches[0], win_prob=i / 8),))
        for i, example in enumerate(examples(7))
    ]
    seen: list[float] = []

    def spy(batch: Groups) -> ObjectiveOutput:
        if batch.branches.policy_logps_B.requires_grad:
            seen.extend(batch.branches.win_prob_B.tolist())
        return sppo(batch.branches, eta=1.0)

    report, steps, _ = run(model, given, replace(BASE, epochs=2), objective=spy)
    everyone = [i / 8 for i in range(7)]
    assert sorted(seen[:7]) == sorted(seen[7:]) == everyone
    assert set(seen[:3]) != set(seen[7:10])
    # 7 in threes are three steps an epoch
    assert [step.epoch for step in steps] == [0, 0, 0, 1, 1, 1]
    assert report.steps == 6


def test_learning_rates_by_hand(model: LlamaForCausalLM) -> None:
    config = replace(BASE, batch_examples=1, schedule="cosine")
    _, steps, _ = run(model, examples(4), config)
    # half of 1 + cos(0, 45, 90, 135 degrees)
    root = math.sqrt(0.5)
    wanted = [1e-2, 5e-3 * (1 + root), 5e-3, 5e-3 * (1 - root)]
    assert [step.learning_rate for step in steps] == pytest.approx(wanted)
    _, steps, _ = run(model, examples(4), replace(config, schedule="constant"))
    assert [step.learning_rate for step in steps] == [1e-2] * 4


def test_the_first_step_is_adam_by_hand(model: LlamaForCausalLM) -> None:
    # AdamW's first step without decay moves each weight by lr * g / (|g| + eps)
    before = weights(model)
    _, _, found = run(model, examples(3))
    wanted = before - 1e-2 * found[0] / (found[0].abs() + 1e-8)
    assert_close(weights(model), wanted, rtol=1e-9, atol=1e-9)


def test_long_gradients_are_cut(model: LlamaForCausalLM) -> None:
    _, steps, found = run(model, examples(3), replace(BASE, max_grad_norm=0.01))
    assert steps[0].grad_norm > 0.1
    assert float(found[0].norm()) == pytest.approx(0.01, rel=1e-3)


def test_frozen_weights_stay(model: LlamaForCausalLM) -> None:
    model.get_input_embeddings().weight.requires_grad_(False)
    before = model.get_input_embeddings().weight.clone()
    head_before = model.get_output_embeddings().weight.detach().clone()
    run(model, examples(3))
    assert torch.equal(model.get_input_embeddings().weight, before)
    assert not torch.equal(model.get_output_embeddings().weight, head_before)


def test_drift_stops_before_the_step_is_made(model: LlamaForCausalLM) -> None:
    config = replace(BASE, epochs=30, min_rejected_log_ratio=-1.0)
    at_step: list[Tensor] = []
    rejected: list[float] = []

    def on_step(step: StepReport) -> None:
        at_step.append(weights(model))
        rejected.append(step.metrics["rejected_log_ratio"])

    given = examples(3)
    reference = reference_logps(model, given)
    report = update(model, reference, given, objective=SDPO, config=config, seed=0, on_step=on_step)
    assert min(rejected[:-1]) >= -1.0 > rejected[-1]
    assert report.stopped_early is not None
    assert f"rejected branches {rejected[-1]:.2f} nats" in report.stopped_early
    assert "min_rejected_log_ratio=-1" in report.stopped_early
    assert report.steps == len(at_step) - 1 < 30
    assert torch.equal(weights(model), at_step[-1])


def test_winners_do_not_count_as_drift(model: LlamaForCausalLM) -> None:
    # a pull downwards on chosen branches only
    def downwards(batch: Groups) -> ObjectiveOutput:
        chosen_B = batch.branches.win_prob_B
        return ObjectiveOutput((batch.branches.log_ratio_B * chosen_B).mean(), {})

    given = examples(3, win_probs=(1.0, 0.5))
    config = replace(BASE, epochs=10, min_rejected_log_ratio=-0.1)
    report, _, _ = run(model, given, config, objective=downwards)
    assert report.last["loss"] < -0.1
    assert report.stopped_early is None


def test_no_threshold_never_stops(model: LlamaForCausalLM) -> None:
    config = replace(BASE, epochs=20, min_rejected_log_ratio=None)
    report, _, _ = run(model, examples(3), config)
    assert report.steps == 20
    assert report.metrics["rejected_log_ratio"] < -1.0


def test_tokens_by_hand(model: LlamaForCausalLM) -> None:
    chosen = BranchTokens((1, 2, 3), (True, True, True), 1.0)
    rejected = BranchTokens((4, 5), (True, True), 0.0)
    given = [Example("g", (6, 7, 8, 9), (chosen, rejected))] * 3
    report, _, _ = run(model, given, replace(BASE, epochs=2))
    # trunk 4, branches 2 and 1 without their last tokens: 7 instead of 6 + 5; 3 examples, 2 epochs
    assert report.tokens == 7 * 6
    assert report.tokens_saved == 4 * 6


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_put_back(model: LlamaForCausalLM, training: bool) -> None:
    model.train(training)
    modes: list[bool] = []

    def spy(batch: Groups) -> ObjectiveOutput:
        modes.append(model.training)
        return SDPO(batch)

    run(model, examples(2), objective=spy)
    assert set(modes) == {False}, "training mode would bring dropout"
    assert model.training is training


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_the_weights_untouched(
    model: LlamaForCausalLM, bad: float
) -> None:
    before = weights(model)

    def broken(batch: Groups) -> ObjectiveOutput:
        output = SDPO(batch)
        return ObjectiveOutput(output.loss * bad, output.metrics)

    with pytest.raises(TrainingError, match=r"The loss is (nan|inf) at step 0.*not made"):
        run(model, examples(2), objective=broken)
    assert torch.equal(weights(model), before)


def test_nothing_to_train_on_is_refused(model: LlamaForCausalLM) -> None:
    with pytest.raises(TrainingError, match="got no examples"):
        update(model, [], [], objective=SDPO, config=BASE, seed=0)


def test_a_reference_of_other_examples_is_refused(model: LlamaForCausalLM) -> None:
    given = examples(2)
    reference = reference_logps(model, given)
    with pytest.raises(TrainingError, match="got 1 reference tensors for 2 examples"):
        update(model, reference[:1], given, objective=SDPO, config=BASE, seed=0)
    with pytest.raises(TrainingError, match="one log-prob for each branch"):
        update(model, [reference[0], reference[1][:1]], given, objective=SDPO, config=BASE, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "linear"}, "schedule is 'linear'"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_examples": 0}, "batch_examples is 0"),
        ({"nll_weight": -0.1}, "nll_weight is -0.1"),
    ],
)
def test_options_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(UpdateConfig, asdict(BASE) | change, "update")


def test_the_numbers_of_an_update_are_means_over_its_examples() -> None:
    """The last batch may hold one example, and must not speak for the others."""
    batches = [(4, 1, 3), (8, 0, 1), (1, 1, 3), (5, 0, 1)]
    steps = [
        StepReport(
            step=step, epoch=step // 2, learning_rate=0.0, loss=loss, nll=1.0, grad_norm=2.0,
            metrics={"accuracy": accuracy}, examples=examples, tokens=5, tokens_saved=0,
        )
        for step, (loss, accuracy, examples) in enumerate(batches)
    ]  # fmt: skip
    assert mean_numbers(steps) == {
        "loss": pytest.approx((12 + 8 + 3 + 5) / 8),
        "nll": 1.0,
        "grad_norm": 2.0,
        "accuracy": pytest.approx(6 / 8),
    }
    assert mean_numbers(steps[2:])["loss"] == pytest.approx(2.0)
