"""Training on scenes that only a judge can score: whole runs on loopback, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from envs.errors import ConfigError, DataError
from envs.scenarios.open_ended import open_scenes, scene_split
from tests.engines.remote_provider import Body, Provider, serving
from tests.tiny_models import instruct_model, instruct_tokenizer
from tests.training.provided import places, read_json, replies, served
from tests.training.quick import without_reports
from training.cli.compose import compose
from training.loop import train
from training.preflight.checks import check_before_training
from training.storage.run_files import read_metrics
from training.storage.store import Store

SIZES = (
    "scale=smoke",
    "cloning.dialogues=0",
    "evaluation.curve_scenarios=1",
    "evaluation.scenarios=1",
    "iterations=1",
    "collect.episodes=4",
    "branch.points=2",
    "branch.continuations=2",
    "env.max_turns=4",
    "policy.prompt_style=full",
    "policy.max_new_tokens=4",
    "partner=self",
)


@dataclass
class Judges:
    """A provider and whether its judge says anything."""

    server: Provider
    is_silent: bool = False


@pytest.fixture
def judges(monkeypatch: pytest.MonkeyPatch) -> Iterator[Judges]:
    without_reports(monkeypatch)
    before = torch.get_num_threads()
    found = Judges(Provider(reply=lambda body: answer(found, body)))
    with serving(found.server):
        yield found
    torch.set_num_threads(before)


def answer(judges: Judges, body: Body) -> str:
    return "I would rather not say." if judges.is_silent else replies(body)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    instruct_model().save_pretrained(folder)
    instruct_tokenizer().save_pretrained(folder)
    return folder


def write(folder: Path, count: int = 40, **changes: object) -> Path:
    """A file of scenes in SOTOPIA's format; both splits have some."""
    lines = [r.model_dump(mode="json") | changes for r in open_scenes("train")[:count]]
    file = folder / "scenes.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.mark.slow
@pytest.mark.parametrize("env", ["open", "sotopia", "mixture"])
def test_a_run_trains_to_its_end(judges: Judges, model: Path, tmp_path: Path, env: str) -> None:
    file = write(tmp_path)
    chosen = {
        "open": ["env=open", "judge=hybrid"],
        "sotopia": ["env=sotopia", f"env.path={file}", "judge=rubric"],
        "mixture": ["env=open", "env.families={open: 1, price: 1}", "judge=hybrid"],
    }[env]
    asked = [word for who in ("judge", "critic") for word in served(judges.server, who)]
    words = places(
        tmp_path, *chosen, *SIZES, "critic=llm", "critic.poor_goal=10", *asked,
        f"policy.name={model}",
    )  # fmt: skip
    config = compose(words)
    check_before_training(config)
    folder = train(config)
    summary = read_json(folder / "summary.json")
    assert summary["unscored"] == 0
    assert set(summary["policies"]["final"]) == {"self", "frozen_bc"}
    assert [m["iteration"] for m in read_metrics(folder)] == [0, 1]
    with Store.read_only(folder / "store.sqlite") as store:
        collected = store.episodes("collect", 1)
        measured = store.episodes("evaluate-final-self", 1)
        groups = store.groups(1)
    assert groups
    assert all(group.critic == "llm" for group in groups)
    assert all("/train/" in one.episode.scenario.id for one in collected)
    assert all("/train/" not in one.episode.scenario.id for one in measured)
    families = {one.episode.scenario.family for one in collected}
    assert families == ({"open", "price"} if env == "mixture" else {env})
    if env == "sotopia":
        held = {one.episode.scenario.context for one in measured}
        assert not held & {one.episode.scenario.context for one in collected}


def test_a_judge_that_never_answers_is_an_alarm_and_no_result(
    judges: Judges, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judges.is_silent = True
    words = [*SIZES, "env=open", "judge=hybrid", "critic=random", f"policy.name={model}"]
    folder = train(compose(places(tmp_path, *words, *served(judges.server, "judge"))))
    summary = read_json(folder / "summary.json")
    assert any(n.startswith("ALARM: no episode was scored") for n in summary["notes"])
    assert summary["policies"]["final"] == {"self": {}, "frozen_bc": {}}
    said = " ".join(capsys.readouterr().out.split())
    assert "The judge scored none of the 4 episodes of iteration 1" in said


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["judge=verifiable"], "judge is verifiable, which scores goals by a program"),
        (["cloning.dialogues=8"], "cloning.dialogues is 8, but scripted experts cannot play"),
        (["partner=scripted"], "partner.weights has experts, but scripted experts"),
        (["branch.source=experts", "pairing=expert"], "branch.source is experts, but"),
    ],
)
def test_what_cannot_learn_from_scenes_is_refused(words: list[str], fault: str) -> None:
    served = ["++judge.model.name=m", "++judge.model.base_url=http://127.0.0.1:9/v1"]
    judge = [] if "judge=verifiable" in words else ["judge=hybrid", *served]
    with pytest.raises(ConfigError) as caught:
        check_before_training(compose(["env=open", *SIZES, "critic=random", *judge, *words]))
    assert fault in str(caught.value)


def test_files_of_scenes_that_are_wrong_are_named(tmp_path: Path) -> None:
    def check(file: Path) -> None:
        check_before_training(compose(["env=sotopia", f"env.path={file}", *SIZES]))

    with pytest.raises(DataError, match="There is no file"):
        check(tmp_path / "none.jsonl")
    for changes, fault in (
        ({"agent_goals": ["one"]}, r"line 1, field 'agent_goals'"),
        ({"agent_goals": ["one", "two", "three"]}, r"line 1, .* got 3 goals, expected 2"),
        ({"relationship": 9}, r"line 1, field 'relationship': got 9"),
    ):
        with pytest.raises(DataError, match=fault):
            check(write(tmp_path, 1, **changes))
        (tmp_path / "scenes.jsonl").rename(tmp_path / f"{len(list(tmp_path.iterdir()))}.old")
    file = tmp_path / "broken.jsonl"
    file.write_text(json.dumps({"no": "scene"}) + "\n")
    with pytest.raises(DataError, match="line 1, field"):
        check(file)


def test_the_benchmark_is_not_trained_on_unless_one_says_so(tmp_path: Path) -> None:
    path = Path(__file__).resolve().parents[3] / "shared/data/sotopia/environment_profiles.jsonl"
    if not path.is_file():
        pytest.skip(f"no published data at {path}")
    with pytest.raises(ConfigError, match="has 90 of SOTOPIA's 90 benchmark scenes"):
        check_before_training(compose(["env=sotopia", f"env.path={path}", *SIZES]))
    with pytest.raises(ConfigError, match="judge is verifiable"):
        check_before_training(
            compose(["env=sotopia", f"env.path={path}", *SIZES, "env.train_on_benchmark=true"])
        )


def test_scenes_of_a_file_keep_their_split_when_others_join() -> None:
    scenes = open_scenes("train")
    assert {scene_split(scene) for scene in scenes} == {"train", "dev", "test"}
    moved = scenes[0].model_copy(update={"env_id": "other", "codename": "other"})
    assert scene_split(moved) == scene_split(scenes[0])
