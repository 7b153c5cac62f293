"""The time plan: tokens follow the options, seconds follow tokens, and both are shown."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from transformers import LlamaConfig

from training.cli.compose import compose
from training.preflight.duration import Stage, measure_speed, show_duration, stages_of
from training.preflight.model_size import size_of
from training.preflight.workload import (
    NOTE_TOKENS,
    TURN_TOKENS,
    TURNS_SHARE,
    dialogue_tokens,
    opening_tokens,
    turn_tokens,
)

WORDS = ("+experiment=sotopia_sdpo", "scale=cpu", "policy.name=folder")


def stages(*words: str) -> dict[str, Stage]:
    return {stage.name: stage for stage in stages_of(compose([*WORDS, *words]))}


def test_each_seat_of_a_demonstration_is_trained_on_once_an_epoch() -> None:
    words = ("cloning.dialogues=10", "cloning.drills=0", "cloning.epochs=3", "env.max_turns=12")
    config = compose([*WORDS, *words])
    dialogue = dialogue_tokens(config, 12 * TURNS_SHARE)
    assert dialogue > opening_tokens(config) + 8 * TURN_TOKENS["full"]
    noted = dialogue_tokens(compose([*WORDS, *words, "cloning.notes=true"]), 12 * TURNS_SHARE)
    assert noted - dialogue == 8 * NOTE_TOKENS["full"]
    assert stages(*words)["stage 0"].trained == 2 * 10 * 3 * dialogue


def test_more_work_takes_more_tokens_of_its_stage_alone() -> None:
    few = stages("iterations=2", "collect.episodes=10", "branch.points=8")
    for words, name in (
        (("collect.episodes=20", "branch.points=8"), "self-play"),
        (("collect.episodes=10", "branch.points=8", "evaluation.scenarios=999"), "evaluation"),
    ):
        more = stages("iterations=2", *words)
        assert more[name].written > few[name].written
        assert {n for n in few if few[n] != more[n]} == {name}
    twice = stages("iterations=4", "collect.episodes=10", "branch.points=8")
    for name in ("self-play", "branches", "updates"):
        assert twice[name].trained == 2 * few[name].trained
        assert twice[name].read == 2 * few[name].read


def test_a_demonstrator_works_at_its_own_size() -> None:
    config = compose([*WORDS, "cloning.dialogues=10", "env.max_turns=12"])
    size = size_of(
        LlamaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    )
    (stage, *others) = stages_of(config, size)
    assert stage.name == "demonstrations"
    assert stage.written == 10 * 12 * TURNS_SHARE * turn_tokens(config), "each turn once"
    assert stage.read == 2 * 10 * dialogue_tokens(config, 12 * TURNS_SHARE) - stage.written
    assert others == stages_of(config)
    speed = {"float32": 100.0, "bfloat16": 200.0}
    other = Stage("d", read=5, written=5, weights=20)
    assert other.seconds(10, speed, "local") == pytest.approx(24)  # type: ignore[arg-type]


def test_seconds_by_hand() -> None:
    speed = {"float32": 100.0, "bfloat16": 200.0}
    # 10 weights, 6 operations each and token, at half of 200 a second: 60 tokens take 36 s.
    trained = Stage("t", trained=60, precision="bfloat16")
    assert trained.seconds(10, speed, "local") == pytest.approx(36)  # type: ignore[arg-type]
    quick = Stage("p", read=5, written=5, precision="bfloat16")
    assert quick.seconds(10, speed, "local") == pytest.approx(11)  # type: ignore[arg-type]
    again = Stage("t", trained=60, precision="bfloat16", checkpointing=True)
    assert again.seconds(10, speed, "local") == pytest.approx(48)  # type: ignore[arg-type]
    # 2 operations a weight: 5 tokens read at half of 100 take 2 s, 5 written at a tenth 10 s.
    played = Stage("p", read=5, written=5)
    assert played.seconds(10, speed, "local") == pytest.approx(12)  # type: ignore[arg-type]


def test_the_plan_says_that_it_is_an_estimate_or_that_it_is_unknown() -> None:
    config = compose(list(WORDS))
    size = size_of(
        LlamaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    )
    for speed, words in (
        ({"float32": 1e9, "bfloat16": 2e9}, ("rough estimate", "stage 0", "evaluation", " s")),
        (None, ("unknown", "this machine has no GPU")),
    ):
        console = Console(file=io.StringIO(), width=120)
        show_duration(console, stages_of(config), size, config, speed)  # type: ignore[arg-type]
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        assert all(word in shown for word in words)


def test_the_machine_is_measured() -> None:
    assert all(speed > 1e6 for speed in measure_speed("cpu").values())
