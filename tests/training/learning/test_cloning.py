"""Stage 0: what is shown, on which tokens the loss falls, and that it is learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from transformers import LlamaForCausalLM

from agents.embedded import make_tokenizer
from agents.prompts import STYLES
from engines.weights import weights_version
from envs.actions import LineCodec
from envs.errors import TrainingError
from envs.scenarios import FAMILIES, draw
from envs.scenarios.families.item_split import SplitTask
from envs.scenarios.families.plans import PlansTask
from envs.scenarios.families.price import PriceTask
from envs.social import Rules, SocialState
from envs.types import Turn
from tests.tiny_models import tiny_policy
from tests.training.lines import (
    RULES,
    STREAM,
    STYLE,
    TASK,
    line_player,
    play_lines,
    scenario,
    stream_of,
    words,
)
from training.config import CloningConfig
from training.learning import cloning
from training.learning.cloning import accumulate_gradient, clone
from training.learning.demonstrations import Row, demonstrations, dialogue_rows, drill_row, note
from training.play.rollout import EpisodePlan

MIXTURE = {"plans": 0.5, "division": 0.5}


def talk(*lines: str, task: PlansTask | None = TASK) -> tuple[Turn, ...]:
    """Seats speak turn about, seat 0 first."""
    state = SocialState(scenario(task=task), Rules(max_turns=len(lines)))
    for line in lines:
        state.step({seat: LineCodec().decode(line) for seat in state.to_act})
    return state.turns


def learned(row: Row) -> list[str]:
    """The stretches of a row that carry loss, as text."""
    return [text for is_learned, text in _stretches(row) if is_learned]


def read(row: Row) -> list[str]:
    """The stretches of a row between them."""
    return [text for is_learned, text in _stretches(row) if not is_learned]


def _stretches(row: Row) -> Iterator[tuple[bool, str]]:
    ids: list[int] = []
    for n, (token, mask) in enumerate(zip(row.token_ids, row.loss_mask, strict=True)):
        ids.append(token)
        if n + 1 == len(row.token_ids) or row.loss_mask[n + 1] != mask:
            yield mask, words(ids)
            ids = []


# What is shown


def test_a_note_reckons_what_is_offered() -> None:
    # park is worth 7 to seat 0, two more than its aim, and 2 to seat 1, six less.
    assert note(TASK, 0, (1,), STYLES["brief"]) == "<think> 7 2 </think>"
    assert note(TASK, 1, (1,), STYLES["brief"]) == "<think> 2 -6 </think>"


def test_a_note_adds_up_item_by_item() -> None:
    values = ((1, 4, 0), (3, 2, 5))
    task = SplitTask((6.0, 9.4), ("book", "hat", "ball"), pool=(2, 1, 3), values=values)
    # Seat 0 gets 1 book and 1 hat: 1, then 1 + 4, then nothing for balls; one less than its aim.
    assert note(task, 0, (1, 1, 0), STYLES["brief"]) == "<think> 1 5 5 -1 </think>"
    # Seat 1 gets the rest: 1 book (3), no hat, 3 balls (3 + 15); nine more than its aim of 9.4.
    assert note(task, 1, (1, 1, 0), STYLES["brief"]) == "<think> 3 3 18 9 </think>"


@given(st.integers(0, 50), st.sampled_from(sorted(FAMILIES)))
def test_the_vocabulary_holds_every_note(number: int, family: str) -> None:
    task = draw(family, "train", number).task
    assert task is not None
    for seat in (0, 1):
        for deal in task.deals()[:40]:
            text = note(task, seat, deal, STYLES["brief"])
            assert words(STREAM.encode_reply(text)) == f"{text} <eos>"


def test_notes_are_cut_to_what_the_vocabulary_holds() -> None:
    far = PriceTask(aims=(99.0, 1.0), limits=(90, 60))
    assert note(far, 0, (10,), STYLES["brief"]) == "<think> 60 -19 </think>"  # worth 80
    assert note(far, 1, (10,), STYLES["brief"]) == "<think> -20 -20 </think>"  # worth -50, gap -51


def test_loss_falls_on_the_seats_own_replies() -> None:
    turns = talk("say i like park", "do offer cafe", "do offer zoo", "do reject", "do accept")
    first, second = dialogue_rows(scenario(), turns[:4], 5, STREAM, STYLE)
    assert learned(first) == [
        "say i like park <eos>",
        "<think> 1 -4 </think> do offer zoo <eos>",  # cafe is worth 1 of its 5
    ]
    assert learned(second) == [
        "do offer cafe <eos>",  # nothing is on the table yet
        "<think> 4 -4 </think> do reject <eos>",  # zoo is worth 4 of its 8
    ]
    assert read(first)[0].startswith("plans cafe:1 park:7 zoo:3 aim=5")
    assert "do offer cafe" in read(first)[1]
    assert "say i like park" in read(second)[0]
    assert "aim=5" not in words(second.token_ids), "the other's side is not shown"
    assert "think" not in "".join(read(first) + read(second)), "nor are its notes"


def test_there_is_no_note_without_a_task_or_an_offer() -> None:
    rows = dialogue_rows(scenario(task=None), talk("say hello", "say hello"), 2, STREAM, STYLE)
    assert all("think" not in words(row.token_ids) for row in rows)


def test_a_seat_without_a_turn_gives_no_row() -> None:
    (row,) = dialogue_rows(scenario(), talk("leave"), 1, STREAM, STYLE)
    assert learned(row) == ["leave <eos>"]
    assert list(dialogue_rows(scenario(), (), 1, STREAM, STYLE)) == []


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_the_stream_that_the_policy_will_see(seed: int) -> None:
    plain = line_player(lines=("say i like zoo", "do offer cafe", "do offer park", "none"))
    plan = EpisodePlan("e", scenario(task=None), (plain, plain), seed)  # no task, no notes
    (played,) = play_lines(plan)
    turns = played.episode.turns
    rows = dialogue_rows(played.episode.scenario, turns, RULES.max_turns, STREAM, STYLE)
    for seat, row in enumerate(rows):
        ids, mask = stream_of(played, seat)
        assert (row.token_ids, row.loss_mask) == (tuple(ids), tuple(mask))


@pytest.mark.parametrize("seat", [0, 1])
def test_drills_learn_the_reckoning_alone(seat: int) -> None:
    row = drill_row(scenario(), seat, STREAM, STYLE, Random(0))
    notes = {note(TASK, seat, deal, STYLES["brief"]) for deal in TASK.deals()}
    assert learned(row)
    assert set(learned(row)) <= notes
    for offer, reckoning in zip(read(row), learned(row), strict=False):
        (deal,) = (d for d in TASK.deals() if f"offer {TASK.terms(1 - seat, d)}" in offer)
        assert reckoning == note(TASK, seat, deal, STYLES["brief"])


def test_demonstrations_are_seeded_and_go_on() -> None:
    def rows(seed: int = 0, start: int = 0) -> list[Row]:
        config = CloningConfig(dialogues=6, drills=3, lr=1e-3)
        return demonstrations(MIXTURE, config, RULES, STREAM, STYLE, seed=seed, start=start)

    assert rows() == rows()
    assert 12 < 2 * 6 + 3 == len(rows()), "both seats of a dialogue, and the drills"
    assert rows() != rows(seed=1)
    briefs = {words(row.token_ids).partition("aim=")[0] for row in rows()}
    assert not briefs & {words(row.token_ids).partition("aim=")[0] for row in rows(start=6)}


def test_no_word_of_a_demonstration_is_unknown() -> None:
    config = CloningConfig(dialogues=100, drills=50, lr=1e-3)
    everything = dict.fromkeys(FAMILIES, 1.0)
    rows = demonstrations(everything, config, Rules(max_turns=12), STREAM, STYLE, seed=0)
    unknown = make_tokenizer().unk_token_id
    assert [words(row.token_ids) for row in rows if unknown in row.token_ids] == []


# How it is learned


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    config = CloningConfig(dialogues=12, drills=4, lr=1e-3)
    return demonstrations({"plans": 1.0}, config, RULES, STREAM, STYLE, seed=0)


def gradient_of(model: LlamaForCausalLM) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def one_by_one(model: LlamaForCausalLM, rows: Sequence[Row]) -> torch.Tensor:
    """The mean loss over all loss tokens, written down as plainly as can be."""
    summed, count = torch.zeros(()), 0
    for row in rows:
        logps_TV = model(input_ids=torch.tensor([row.token_ids])).logits[0].log_softmax(-1)
        for t, is_learned in enumerate(row.loss_mask):
            if is_learned:
                summed = summed - logps_TV[t - 1, row.token_ids[t]]
                count += 1
    return summed / count


@pytest.mark.parametrize("pass_rows", [1, 3, 64])
def test_gradients_do_not_depend_on_how_a_batch_is_passed(
    rows: list[Row], pass_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, packed = tiny_policy(), tiny_policy()
    expected = one_by_one(plain, rows[:8])
    expected.backward()
    monkeypatch.setattr(cloning, "_PASS_ROWS", pass_rows)
    loss = accumulate_gradient(packed, rows[:8])
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    assert gradient_of(plain)
    for got, want in zip(gradient_of(packed), gradient_of(plain), strict=True):
        assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_what_is_read_only_carries_no_loss() -> None:
    # Token 7 is read and token 9 is learned: only the one prediction of 9 counts.
    model = tiny_policy()
    loss = accumulate_gradient(model, [Row((3, 7, 9), (False, False, True))])
    logps_V = model(input_ids=torch.tensor([[3, 7]])).logits[0, -1].log_softmax(-1)
    assert loss == pytest.approx(-logps_V[9].item(), abs=1e-5)


def test_the_loss_falls(rows: list[Row]) -> None:
    config = CloningConfig(dialogues=12, epochs=12, lr=1e-2, batch_rows=8)
    model = tiny_policy()
    steps: list[tuple[int, int, float]] = []
    tail = clone(model, rows, config, seed=0, on_step=lambda *step: steps.append(step)).loss
    count = -(-len(rows) // 8) * 12  # the last batch of an epoch is smaller
    assert [step[:2] for step in steps] == [(n, count) for n in range(1, count + 1)]
    assert steps[0][2] > 5, "nothing is known: the log of some five hundred words"
    losses = [loss for _, _, loss in steps]
    assert tail == pytest.approx(sum(losses[-(count // 10) :]) / (count // 10))
    assert tail < 0.6 * steps[0][2]


def test_the_same_seed_gives_the_same_weights(rows: list[Row]) -> None:
    config = CloningConfig(dialogues=12, lr=1e-2, batch_rows=8)

    def cloned(seed: int) -> str:
        model = tiny_policy()
        clone(model, rows, config, seed=seed)
        return weights_version(model)

    assert cloned(0) == cloned(0)
    assert cloned(0) != cloned(1), "another order of rows"
    assert cloned(0) != weights_version(tiny_policy())


@pytest.mark.parametrize("token_budget", [1, 150, 10_000])
def test_a_token_budget_changes_no_gradient(rows: list[Row], token_budget: int) -> None:
    plain, bounded = tiny_policy(), tiny_policy()
    columns: list[int] = []
    bounded.get_decoder().register_forward_pre_hook(
        lambda *call: columns.append(call[2]["input_ids"].numel()), with_kwargs=True
    )
    expected = accumulate_gradient(plain, rows[:8])
    assert accumulate_gradient(bounded, rows[:8], token_budget=token_budget) == pytest.approx(
        expected, abs=1e-5
    )
    for got, want in zip(gradient_of(bounded), gradient_of(plain), strict=True):
        assert_close(got, want, atol=1e-5, rtol=1e-4)
    longest = max(len(row.token_ids) for row in rows[:8])
    assert max(columns) <= max(token_budget, longest), "only a row that is longer goes beyond it"
    assert token_budget > 1 or len(columns) == 8


def test_checkpointing_and_bfloat16_work_on_a_cpu(rows: list[Row]) -> None:
    config = CloningConfig(dialogues=12, epochs=12, lr=1e-2, batch_rows=8)
    low = replace(config, precision="bfloat16", checkpointing=True, token_budget=300)
    model = tiny_policy()
    losses: list[float] = []
    clone(model, rows, low, seed=0, on_step=lambda step, steps, loss: losses.append(loss))
    assert losses[-1] < 0.6 * losses[0]
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    exact = accumulate_gradient(tiny_policy(), rows)
    assert (
        exact
        != accumulate_gradient(tiny_policy(), rows, "bfloat16")
        == pytest.approx(exact, rel=2e-2)
    )


def test_the_first_batch_is_measured_before_and_after(rows: list[Row]) -> None:
    config, model = CloningConfig(dialogues=12, lr=1e-2, batch_rows=len(rows)), tiny_policy()
    before = accumulate_gradient(tiny_policy(), rows)
    cloned = clone(model, rows, config, seed=0)
    assert cloned.start == pytest.approx(before, abs=1e-5)
    assert cloned.end == pytest.approx(accumulate_gradient(model, rows), abs=1e-5)
    assert cloned.end < cloned.start


def test_a_loss_that_is_not_finite_ends_the_stage(rows: list[Row]) -> None:
    model, whole = tiny_policy(), CloningConfig(dialogues=12, lr=1e-2, batch_rows=len(rows))

    def diverge(step: int, steps: int, loss: float) -> None:
        with torch.no_grad():
            model.lm_head.weight.fill_(torch.nan)

    with pytest.raises(TrainingError, match=r"is nan after the last step.* lower cloning\.lr"):
        clone(model, rows, whole, seed=0, on_step=diverge)  # a single one
    model = tiny_policy()
    with pytest.raises(TrainingError, match="is nan at step 2"):
        clone(model, rows, replace(whole, batch_rows=8), seed=0, on_step=diverge)
