"""Difficulty and order reach everything that plays, and are refused where they cannot be had."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from agents.scripted import ScriptedExperts
from engines.batcher import Batcher
from envs.errors import ConfigError
from envs.scenarios import draw
from envs.scenarios.difficulty import Difficulty
from envs.social import Order, Rules, replay
from judges.verifiable import VerifiableJudge
from tests.training.lines import STREAM, STYLE, line_player, scenario, words
from training.cli.compose import compose
from training.config import CloningConfig
from training.evaluation.held_out import held_out
from training.learning import demonstrations as demonstrations_module
from training.learning import stage0
from training.learning.demonstrations import demonstrations, dialogue_rows
from training.methods.records import PlayedEpisode
from training.play.rollout import EpisodePlan, play_wave, trunk_of
from training.preflight.checks import check_before_training

ORDERS = {
    "round_robin": Order.ROUND_ROBIN,
    "random": Order.RANDOM,
    "simultaneous": Order.SIMULTANEOUS,
}


def test_unless_chosen_both_are_what_the_shipped_model_knows() -> None:
    env = compose(["env=price"]).env
    assert env.rules == Rules(max_turns=20, order=Order.ROUND_ROBIN)
    assert env.draw("train", 2, start=1) == [draw("price", "train", n) for n in (1, 2)]


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_an_order_is_chosen_by_its_name(name: str, order: Order) -> None:
    assert compose([f"env.order={name}", "env.max_turns=6"]).env.rules == Rules(6, order=order)


def test_unknown_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"env\.order is 'turns', but must be round_robin or"):
        compose(["env.order=turns"])
    with pytest.raises(ConfigError, match=r"env\.difficulty is 'brutal', but must be easy or"):
        compose(["env.difficulty=brutal"])


def test_held_out_scenarios_have_the_difficulty() -> None:
    drawn = held_out(compose(["env=match", "env.difficulty=hard", "evaluation.scenarios=2"]))
    assert list(drawn.scenarios) == [draw("match", "test", n, Difficulty.HARD) for n in (0, 1)]


def test_scenes_have_no_difficulty() -> None:
    with pytest.raises(ConfigError, match=r"env\.difficulty is easy, but the scenes of open"):
        compose(["env=open", "env.difficulty=easy"])


def test_simultaneous_order_is_refused_before_training_begins(tmp_path: Path) -> None:
    words = [f"output_root={tmp_path / 'outputs'}", "env.order=simultaneous"]
    with pytest.raises(ConfigError, match=r"Train with env\.order=round_robin or random"):
        check_before_training(compose(words))
    assert not (tmp_path / "outputs").exists()
    check_before_training(compose([f"output_root={tmp_path}", "env.order=random"]))


def test_demonstrations_have_the_difficulty(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = demonstrations_module.draw_mixture

    def noted(*args: object, **options: object) -> list[object]:
        drawn = real(*args, **options)
        seen.extend(one.id for one in drawn)
        return list(drawn)

    monkeypatch.setattr(demonstrations_module, "draw_mixture", noted)
    config = CloningConfig(dialogues=2, drills=1, lr=1.0)
    rules = Rules(order=Order.RANDOM)
    hard = Difficulty.HARD
    assert demonstrations({"camp": 1.0}, config, rules, STREAM, STYLE, seed=0, difficulty=hard)
    assert seen == ["camp-hard/train/0", "camp-hard/train/1", "camp-hard/train/0"]


@pytest.mark.parametrize("word", ["env.difficulty=hard", "env.order=random"])
def test_a_clone_is_not_taken_for_one_of_another_setting(word: str) -> None:
    model, _ = stage0.first_model(compose([]))
    name = stage0._fingerprint(compose([]), model)
    assert stage0._fingerprint(compose([word]), model) != name


# --- playing in other orders -----------------------------------------------------------------


def played_in(order: Order, seed: int, *, parent: PlayedEpisode | None = None) -> PlayedEpisode:
    """An episode of two talkers, or a branch of one from its third turn on."""
    talkers = (line_player("policy"), line_player("partner"))
    trunk = trunk_of(parent, 2) if parent is not None else None
    plan = EpisodePlan("a", scenario(), talkers, seed, trunk)
    rules = Rules(max_turns=8, order=order)
    (played,) = play_wave([plan], rules, VerifiableJudge(), Batcher())
    return played


def seats(played: PlayedEpisode) -> list[int]:
    return [turn.seat for turn in played.episode.turns]


@pytest.mark.parametrize("order", Order)
def test_an_episode_is_recorded_in_the_order_that_it_was_played_in(order: Order) -> None:
    for seed in range(20):
        played = played_in(order, seed)
        turns = played.episode.turns
        assert len(played.generations) == len(turns)
        state = replay(scenario(), Rules(max_turns=8, order=order), turns, seed)
        assert state.episode() == played.episode


def test_a_random_order_depends_on_the_seed_and_not_on_who_plays() -> None:
    orders = [seats(played_in(Order.RANDOM, seed)) for seed in range(30)]
    assert {(0, 0), (0, 1), (1, 0), (1, 1)} == {tuple(o[:2]) for o in orders if len(o) > 1}
    expert = ScriptedExperts()
    for seed in range(10):
        plan = EpisodePlan("b", scenario(), (expert, expert), seed)
        rules = Rules(max_turns=8, order=Order.RANDOM)
        (other,) = play_wave([plan], rules, VerifiableJudge(), Batcher())
        both = zip(seats(other), orders[seed], strict=False)
        assert all(one == another for one, another in both)


def test_a_branch_keeps_the_random_order_of_its_parent() -> None:
    longer = 0
    for seed in range(30):
        parent = played_in(Order.RANDOM, seed)
        if len(parent.episode.turns) < 3:
            continue
        branch = played_in(Order.RANDOM, 1000 + seed, parent=parent)
        assert branch.episode.turns[:2] == parent.episode.turns[:2]
        both = list(zip(seats(branch), seats(parent), strict=False))
        assert all(one == another for one, another in both)
        longer += len(both) > 3
    assert longer > 5


def test_who_acts_again_is_told_that_nothing_happened_meanwhile() -> None:
    again = 0
    for seed in range(30):
        played = played_in(Order.RANDOM, seed)
        for before, made in zip(played.episode.turns, played.generations[1:], strict=False):
            assert made is not None
            acts_again = played.episode.turns[before.index + 1].seat == before.seat
            if acts_again:
                assert "<them> none left=" in words(made.context_ids)
            again += acts_again
    assert again > 10


def test_demonstrations_tell_it_in_the_same_words() -> None:
    expert = ScriptedExperts()
    for seed in range(20):
        plan = EpisodePlan("c", scenario(), (expert, expert), seed)
        rules = Rules(max_turns=8, order=Order.RANDOM)
        (played,) = play_wave([plan], rules, VerifiableJudge(), Batcher())
        order = seats(played)
        rows = list(dialogue_rows(played.episode.scenario, played.episode.turns, 8, STREAM, STYLE))
        repeats = sum(one == another for one, another in pairwise(order))
        told = sum(words(row.token_ids).count("<them> none left=") for row in rows)
        assert told == repeats
