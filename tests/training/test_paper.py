"""SDPO as published: which episodes are negatives, and a whole run with all its limits."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import NoReturn

import pytest

from agents.chat_template import ChatTemplate
from envs.scenarios.open_ended import open_scenes, scene_split
from judges.base import Scores
from tests.engines.remote_provider import Body, Provider, serving
from tests.tiny_models import instruct_model, instruct_tokenizer
from tests.training.lines import scenario
from tests.training.played import played
from tests.training.provided import is_judged, places, read_json, replies, served
from tests.training.quick import without_reports
from tests.training.test_scene_training import SIZES
from training.cli.compose import compose
from training.config import RunConfig
from training.config.play import CriticConfig
from training.learning.sources.base import DEMONSTRATE, Stage0
from training.learning.sources.files import FileOptions
from training.loop import train
from training.methods.records import BranchGroup, PlayedEpisode
from training.methods.sources import SOURCES
from training.methods.values import goal_relationship, scores_of
from training.play.branch import few_of_each, is_poor
from training.play.branching import Candidate
from training.preflight.checks import check_before_training
from training.storage.store import Store

PAPER = CriticConfig(weights={"llm": 1.0}, poor_goal=7.0, poor_at_most=True, poor_relationship=2.0)
BELOW = CriticConfig(weights={"llm": 1.0}, poor_goal=7.0)


@pytest.mark.parametrize(
    ("goal", "relationship", "by_paper", "below"),
    [
        (6.9, 5, True, True),
        (7, 5, True, False),
        (7.1, 2.1, False, False),
        (10, 2, True, False),
        (10, -5, True, False),
    ],
)
def test_what_is_poor(goal: float, relationship: float, by_paper: bool, below: bool) -> None:
    scores = Scores(9, relationship, 0, 0, 0, 0, goal)
    assert is_poor(PAPER, scores) is by_paper
    assert is_poor(BELOW, scores) is below
    assert is_poor(replace(BELOW, poor_goal=None), scores)


def test_a_scene_under_another_number_is_the_same_scene() -> None:
    made = []
    for n in range(10):
        one = played(f"e{n}")
        scene = replace(scenario(), id=f"open/train/{n}", goals=("a", "b" if n < 8 else "c"))
        made.append(replace(one, episode=replace(one.episode, scenario=scene)))
    candidates = [Candidate(one, seat) for one in made for seat in (0, 1)]
    found = [(c.played.id, c.seat) for c in few_of_each(candidates, 3)]
    kept = ("e0", "e1", "e2", "e8", "e9")
    assert found == [(name, seat) for name in kept for seat in (0, 1)]


def opinion(body: Body) -> str:
    """A judge and a critic whose answers depend on what was said, and a demonstrator."""
    asked = hashlib.sha256(json.dumps(body["messages"]).encode()).digest()
    if is_judged(body):
        found = json.loads(replies(body))
        for n, agent in enumerate(found.values()):
            agent |= {"goal": asked[n] % 11, "relationship": asked[n + 2] % 11 - 5}
        return json.dumps(found)
    asked_for = body["response_format"]["json_schema"]["schema"]["properties"]
    if "action_type" in asked_for:
        return json.dumps({"action_type": "speak", "argument": "Tell me more about that, please."})
    turns = asked_for["turn"]["enum"]
    known = [turn for turn in turns if turn is not None]
    return json.dumps({"reason": "So it seems.", "turn": known[asked[0] % len(known)]})


def few_scenes(folder: Path) -> Path:
    """A file with three scenes to train on, and one of each other split."""
    scenes = open_scenes("train")
    chosen = [
        scene
        for split, count in {"train": 3, "dev": 1, "test": 1}.items()
        for scene in [s for s in scenes if scene_split(s) == split][:count]
    ]
    file = folder / "scenes.jsonl"
    file.write_text("".join(f"{scene.model_dump_json()}\n" for scene in chosen))
    return file


@pytest.mark.slow
def test_a_run_of_the_paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_reports(monkeypatch)
    instruct_model().save_pretrained(tmp_path / "model")
    instruct_tokenizer().save_pretrained(tmp_path / "model")
    with serving(Provider(reply=opinion)) as server:
        who = ("judge", "critic", "demonstrations")
        asked = [word for each in who for word in served(server, each)]
        words = [
            "+experiment=sotopia_sdpo_paper", "env=sotopia", f"env.path={few_scenes(tmp_path)}",
            *SIZES[:-1], "cloning.dialogues=6", "cloning.drills=0", "branch.continuations=5",
            "collect.episodes=32", "branch.points=64", f"policy.name={tmp_path / 'model'}",
            "policy.constrained=false", "judge.samples=1", "size=large",
        ]  # fmt: skip
        config = compose(places(tmp_path, *words, *asked))
        check_before_training(config)
        folder = train(config)
    assert (config.update.learning_rate, config.cloning.lr) == (1e-6, 1e-5)
    assert config.policy.temperature == 1
    summary = read_json(folder / "summary.json")
    assert summary["iterations"] == 1
    assert summary["demonstrations"]["read"] == 6
    assert summary["demonstrations"]["kept"] > 0
    assert set(summary["api"]["by_purpose"]) == {"judge", "critic", "demonstrations"}
    with Store.read_only(folder / "store.sqlite") as store:
        collected, groups, examples = (
            store.episodes("collect", 1), store.groups(1), store.examples(1)
        )  # fmt: skip
        demonstrated = store.episodes(DEMONSTRATE, 0)
    check_a_store_demonstrates(config, folder, [*demonstrated, *collected])
    check_temperatures(groups)
    poor = [
        (one.episode.scenario.context, seat)
        for one in collected
        for seat in (0, 1)
        if is_poor(PAPER, scores_of(one, seat))
    ]
    negatives = [(g.branches[0].episode.scenario.context, g.seat) for g in groups]
    assert max(Counter(poor).values()) > 3, "the limit has something to do"
    assert max(Counter(negatives).values()) <= 3
    assert all(is_poor(PAPER, scores_of(g.branches[0], g.seat)) for g in groups)
    assert {len(g.branches) for g in groups} == {6}
    assert examples
    by_id = {group.id: group for group in groups}
    lengths = set()
    for example in examples:
        group = by_id[example.group_id]
        chosen, rejected = (len(runs(side.loss_mask)) for side in example.branches)
        assert chosen == rejected
        lengths.add(chosen)
        values = [goal_relationship(branch, group.seat) for branch in group.branches]
        best = group.branches[values.index(max(values))]
        assert max(values) > values[0], "kept only if better than the negative"
        first, other = (b.episode.turns[group.turn].action for b in (best, group.branches[0]))
        assert first != other
    assert lengths == {1, 2}


def check_temperatures(groups: list[BranchGroup]) -> None:
    """The policy plays at 1.0, the other seat of a continuation at 0.7."""
    for group in groups:
        for branch in group.branches:
            for turn, made in zip(branch.episode.turns, branch.generations, strict=True):
                is_new = branch is not group.branches[0] and turn.index >= group.turn
                cooler = is_new and turn.seat != group.seat
                assert made is not None
                assert made.sampling.temperature == (0.7 if cooler else 1.0)


def check_a_store_demonstrates(
    config: RunConfig, folder: Path, collected: list[PlayedEpisode]
) -> None:
    """The good seats of its training scenes are rows to clone, from as many dialogues as asked."""
    good = [
        [s for s in (0, 1) if scores_of(one, s).goal >= 7 and has_valid_turn(one, s)]
        for one in collected
    ]
    cloning = replace(config.cloning, dialogues=3, drills=0)
    template = ChatTemplate(instruct_tokenizer())

    def nobody(model: object) -> NoReturn:
        raise AssertionError(model)

    stage = Stage0(replace(config, cloning=cloning), template, nobody, lambda done, total: None)
    found = SOURCES["file"].make(FileOptions(path=str(folder)), stage)
    assert found.kept == len(found.rows) == sum(map(len, [seats for seats in good if seats][:3]))
    more = sum(map(len, [seats for seats in good if seats][3:]))
    assert found.dialogues == 3
    assert found.dropped["were more than cloning.dialogues"] == more
    assert found.dropped["were of held-out scenarios"] > 0


def has_valid_turn(played: PlayedEpisode, seat: int) -> bool:
    return any(t.action.invalid is None for t in played.episode.turns if t.seat == seat)


def runs(mask: tuple[bool, ...]) -> list[bool]:
    return [is_own for is_own, _ in groupby(mask) if is_own]
