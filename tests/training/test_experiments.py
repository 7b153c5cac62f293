"""Experiments train: one for each pairing, critic and source, and those that ask a model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.engines.remote_provider import Body, Provider, serving
from tests.training.provided import places, replies, served
from tests.training.quick import quick_retries, without_reports
from training.cli.compose import compose
from training.loop import train
from training.storage.run_files import read_metrics
from training.storage.store import Store

SMALL = (
    "scale=smoke",
    "env=plans",
    "env.max_turns=8",
    "cloning.dialogues=0",
    "collect.episodes=12",
    "branch.points=6",
    "pairing.margin=0.1",
    "evaluation.scenarios=1",
    "evaluation.curve_scenarios=0",
    "evaluation.stubborn_bias=null",
)

EXPERIMENTS = {
    "bc": "imitation",
    "spin": "expert",
    "step_dpo": "step",
    "rso": "rejection",
    "kto": "binary",
    "eto": "session",
    "preferred_sft": "preferred",
    "sppo_pair": "win_rate_pair",
    "segments_critic": "segment",
    "segments_1_3": "segment",
    "source_experts": "segment",
}
"""With the pairing that is tried by it; the others are those of test_loop.py."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    without_reports(monkeypatch)
    quick_retries(monkeypatch)


def check_learned(folder: Path) -> None:
    (_, line) = read_metrics(folder)
    assert line["examples"] > 0
    assert line["update"]["steps"] >= 1
    with Store.read_only(folder / "store.sqlite") as store:
        examples = store.examples(1)
    assert len(examples) == line["examples"]
    assert all(any(side.loss_mask) for example in examples for side in example.branches)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_learns_from_what_it_says(tmp_path: Path, name: str) -> None:
    config = compose(places(tmp_path, f"+experiment=sotopia_{name}", *SMALL))
    assert config.pairing.name == EXPERIMENTS[name]
    check_learned(train(config))


def test_sdpo_as_published_asks_a_critic(tmp_path: Path, provider: Provider) -> None:
    words = ["+experiment=sotopia_sdpo_paper", *served(provider, "critic"), *SMALL]
    words += ["judge=verifiable", "demonstrations=experts"]
    folder = train(compose(places(tmp_path, *words, "++critic.model.api_key_env=null")))
    check_learned(folder)
    with Store.read_only(folder / "store.sqlite") as store:
        groups = store.groups(1)
    assert {group.critic for group in groups} == {"llm"}
    assert any(group.segment_turns for group in groups), "and for the segment"


def opinion(body: Body) -> str:
    """A verdict in which both goals depend on what was said."""
    asked = hashlib.sha256(json.dumps(body["messages"]).encode()).digest()
    found = json.loads(replies(body))
    for agent in found.values():
        agent["goal"] = asked[0] % 11
    return json.dumps(found)


def test_self_rewarding_asks_a_judge_for_rewards(tmp_path: Path) -> None:
    with serving(Provider(reply=opinion)) as judge:
        words = ["+experiment=sotopia_self_rewarding", *served(judge, "judge"), *SMALL]
        folder = train(compose(places(tmp_path, *words, "judge.samples=1")))
    check_learned(folder)
    with Store.read_only(folder / "store.sqlite") as store:
        judges = {played.judgement.judge_id for played in store.episodes("collect", 1)}
    assert {judge.partition("(")[0] for judge in judges} == {"rubric"}
