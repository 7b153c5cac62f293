"""Whoever can be a partner, a policy or a judge plays and judges in whole evaluations."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents.chat_template import ChatTemplate
from agents.embedded import make_tokenizer
from agents.scripted import ScriptedExperts
from envs.errors import ConfigError
from judges.base import DIMENSION_RANGES, Judge
from judges.critics.llm import LlmCritic
from judges.critics.measured import ValueCritic
from judges.hybrid import HybridJudge
from judges.llm_pairwise import LlmPairwiseJudge
from judges.panel import PanelJudge
from judges.rubric import RubricJudge
from judges.verifiable import VerifiableJudge
from tests.engines.remote_provider import Provider
from tests.tiny_models import tiny_policy
from tests.training.provided import PRICES, goal_of, places, read_json, served
from training.builders.judges import critics_of, judge_of, pairwise_judge_of
from training.builders.players import open_play, open_talk
from training.cli.compose import compose
from training.evaluate import evaluate_policy
from training.learning.sources.base import DEMONSTRATE, Stage0
from training.methods.records import PlayedEpisode
from training.play.context import EXPERTS, MODEL, POLICY, PlayContext
from training.play.remote import resources
from training.storage.checkpoint import save_checkpoint
from training.storage.run import Run
from training.storage.store import Store


def evaluate(folder: Path, *words: str) -> tuple[dict[str, Any], list[PlayedEpisode]]:
    """Its summary, and all that was played."""
    evaluate_policy(compose(places(folder, "evaluation.scenarios=4", *words)))
    run = (folder / "evaluations" / "latest").resolve()
    with Store.read_only(run / "store.sqlite") as store:
        phases = dict.fromkeys(key.phase for key in store.waves())
        played = [one for phase in phases for one in store.episodes(phase, 0)]
    return read_json(run / "summary.json"), played


def name_at(provider: Provider, model: str) -> str:
    return f"{model}@" + provider.base_url.split("/")[2]


def test_a_model_behind_an_api_is_measured_against_all(provider: Provider, tmp_path: Path) -> None:
    words = ["policy=api", *served(provider, "policy"), "partner=server"]
    words += [*served(provider, name="model-b"), "partner.weights={self: 1, experts: 1, model: 1}"]
    summary, played = evaluate(tmp_path, *words)
    ours, theirs = name_at(provider, "model-a"), name_at(provider, "model-b")
    experts = ScriptedExperts(speaks=True).id
    assert list(summary["policies"]["final"]) == [theirs, "self", "experts"]
    assert [one.players for one in played] == [
        *[(ours, theirs), (theirs, ours)] * 2,
        *[(ours, ours)] * 4,
        *[(ours, experts), (experts, ours)] * 2,
    ]
    by_purpose, by_model = summary["api"]["by_purpose"], summary["api"]["by_model"]
    assert by_purpose["policy"] == by_model[ours]
    assert by_purpose["partner"] == by_model[theirs]


def test_another_checkpoint_is_a_partner(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    save_checkpoint(folder, tiny_policy(3), make_tokenizer(), {})
    words = [f"partner.checkpoint.name={folder}", "partner.checkpoint.prompt_style=brief"]
    words += ["partner.checkpoint.constrained=false", "partner.checkpoint.max_new_tokens=8"]
    summary, played = evaluate(tmp_path, "partner=checkpoint", *words)
    assert list(summary["policies"]["final"]) == ["other"]
    assert [one.players for one in played] == [("policy", "other"), ("other", "policy")] * 2
    assert summary["api"] is None


def test_a_model_on_disk_demonstrates_and_what_it_played_is_kept(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "expert"
    save_checkpoint(folder, tiny_policy(3), make_tokenizer(), {})
    section = "demonstrations.checkpoint"
    words = [
        f"{section}.name={folder}",
        f"{section}.prompt_style=brief",
        f"{section}.temperature=0.5",
    ]
    words += [f"{section}.constrained=false", f"{section}.max_new_tokens=8", "cloning.dialogues=5"]
    words += ["demonstrations.min_goal=0", "demonstrations.min_words=0", "env.wave=3"]
    words += ["demonstrations.max_invalid_share=1", "env=price"]
    config = compose(places(tmp_path, *words))
    steps: list[tuple[int, int]] = []
    stage = Stage0(
        config,
        ChatTemplate(make_tokenizer()),
        partial(open_talk, config, run),
        lambda done, total: steps.append((done, total)),
    )
    source = config.demonstrations.spec
    found = source.make(config.demonstrations.options_for(source), stage)
    assert found.read == 5
    assert found.kept + found.dropped.total() == 10, "seats; some never made a valid turn"
    assert len(found.rows) == found.kept > 0
    assert steps == [(3, 5), (5, 5)]
    played = run.store.episodes(DEMONSTRATE, 0)
    assert [one.players for one in played] == [("expert", "expert")] * 5
    assert all("/train/" in one.episode.scenario.id for one in played)
    made = [made for one in played for made in one.generations]
    assert {one.sampling.temperature for one in made if one is not None} == {0.5}
    save_checkpoint(folder, tiny_policy(4), make_tokenizer(), {})
    again = source.make(config.demonstrations.options_for(source), stage)
    assert again.rows == found.rows, "other weights, yet the same dialogues: they are in the store"


def test_a_person_plays_one_episode_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("one one\n/leave\ntwo two\n/leave\n"))
    summary, played = evaluate(tmp_path, "partner=human", "evaluation.scenarios=2")
    assert [one.players.index("human") for one in played] == [1, 0]
    typed = [
        [turn.action.argument for turn in one.episode.turns if turn.seat == seat]
        for one, seat in zip(played, (1, 0), strict=True)
    ]
    assert typed == [["one one", ""], ["two two", ""]]
    assert summary["episodes"]["final"]["human"] == {"played": 2, "unscored": 0}
    said = capsys.readouterr().out
    assert said.count("/offer <terms>") == 2, "each scene is shown once"
    assert "\u2501" not in said, "no bar moves where a person types"


@pytest.mark.parametrize("name", ["rubric", "hybrid", "panel"])
def test_judges_that_ask(provider: Provider, tmp_path: Path, name: str) -> None:
    words = served(provider, "judge")
    if name == "panel":
        of_two = zip(("first", "second"), ("model-a", "model-b"), strict=True)
        words = [
            f"++judge.panel.{member}.{key}={value}"
            for member, model in of_two
            for key, value in {"name": model, "base_url": provider.base_url, **PRICES}.items()
        ]
    summary, played = evaluate(tmp_path, "partner=scripted", f"judge={name}", *words)
    assert summary["unscored"] == 0
    assert set(summary["policies"]["final"]["experts"]) > set(DIMENSION_RANGES)
    for one in played:
        goals = [goal_of(profile.name) for profile in one.episode.scenario.profiles]
        computed = [scores.goal for scores in one.judgement.scores] != goals
        assert computed == (name == "hybrid")
        assert one.judgement.judge_id.startswith(f"{name}(")
        assert "model-a-2026" in one.judgement.judge_version
    n_models = 2 if name == "panel" else 1
    assert len(summary["api"]["by_model"]) == n_models
    assert summary["api"]["calls"] == 4 * 2 * n_models  # episodes, samples
    assert list(summary["api"]["by_purpose"]) == ["judge"]


@pytest.fixture
def setting(provider: Provider, tmp_path: Path) -> Iterator[PlayContext]:
    words = ["partner=server", *served(provider), "judge=hybrid", *served(provider, "judge")]
    words += ["critic=llm", *served(provider, "critic"), "policy=api"]
    words += [*served(provider, "policy", name="model-b"), "pairing=win_rate", "judge.samples=3"]
    words += ["objective=sppo"]
    config = compose(places(tmp_path, *words, "pairing.preferences=judge", "seed=7"))
    with Run.create(tmp_path, {}) as run:
        yield open_play(config, run)


def chat_of(judge: Judge) -> object:
    assert isinstance(judge, HybridJudge)
    assert isinstance(judge.model, RubricJudge)
    return judge.model.chat


def test_each_part_gets_its_model_and_options(setting: PlayContext) -> None:
    config, remote = setting.config, setting.remote
    assert {MODEL, POLICY, EXPERTS} <= set(setting.players)
    judge = setting.judge
    assert isinstance(judge, HybridJudge)
    assert isinstance(judge.model, RubricJudge)
    assert (judge.model.samples, judge.model.seed, judge.model.max_tokens) == (3, 7, 2048)
    pairwise = pairwise_judge_of(config, resources(remote, seed=7))
    assert isinstance(pairwise, LlmPairwiseJudge)
    assert pairwise.samples == 3
    assert pairwise.chat is judge.model.chat, "one client a model"
    ((critic, share),) = critics_of(config.critic, resources(remote, seed=7))
    assert isinstance(critic, LlmCritic)
    assert (critic.max_tokens, share) == (512, 1.0)
    assert critic.chat is not judge.model.chat, "another timeout or price is another client"


def test_without_models_nothing_of_it_is_made(tmp_path: Path) -> None:
    config = compose(places(tmp_path, "critic=value"))
    with Run.create(tmp_path, {}) as run:
        setting = open_play(config, run)
        files = {file.name for file in run.folder.iterdir()}
    assert setting.remote is None
    assert isinstance(setting.judge, VerifiableJudge)
    assert pairwise_judge_of(config, resources(None, seed=0)) is None
    ((critic, share),) = critics_of(config.critic, resources(None, seed=0))
    assert (critic, share) == (ValueCritic(1.0), 1.0)
    assert not files & {"calls.sqlite", "answers.sqlite"}


def test_a_panel_of_one_is_none(setting: PlayContext) -> None:
    config = compose(["judge=panel", "judge.panel.second.name=gpt-4o-mini-2024-07-18"]).judge
    assert setting.remote is not None
    panel = judge_of(config, resources(setting.remote, seed=0))
    assert isinstance(panel, PanelJudge)
    assert len(panel.members) == 2
    with pytest.raises(ConfigError, match=r"judge\.panel has panel\.first alone"):
        compose(["judge=panel", "~judge.panel.second"])
