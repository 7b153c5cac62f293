"""Scenes that a model writes: which are kept, which are dropped and why, and how one goes on."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from engines.models import ModelConfig
from envs.errors import BudgetError, ConfigError, DataError
from envs.scenarios.open_ended import open_scenes, read_scenes, scene_split
from tests.chats import FakeChat
from tests.engines.remote_provider import Body, Provider, serving
from tests.training.provided import PRICES, places, read_json
from training.cli.compose import compose
from training.config import RunConfig
from training.invent import PATIENCE, invent_scenes
from training.play.scene_writer import MAX_ASKS, Known, SceneWriter, read_scene, scenes_in
from training.preflight.invention import check_before_invention, print_invention_estimate

WORDS = ("amber", "bridge", "candle", "ditch", "ember", "fiddle", "garden", "hammer", "island")
TENSION = '{"reason": "Only one can have it.", "in_tension": true}'


def scene(seed: object, **changes: Any) -> str:
    """A scene of words that are drawn, so that no two are alike."""
    rng = Random(str(seed))
    said = [" ".join(rng.choices(WORDS, k=12)) for _ in range(5)]
    return json.dumps(
        {
            "scenario": said[0],
            "goals": said[1:3],
            "extra_information": said[3:],
            "relationship": 3,
            "youngest": [18, 30],
            "oldest": [60, 70],
            "occupations": ["", "cook"],
        }
        | changes
    )


def is_writing(body: Body) -> bool:
    return "goals" in body["response_format"]["json_schema"]["schema"]["properties"]


def writer_of(*answers: str) -> tuple[SceneWriter, FakeChat]:
    chat = FakeChat(answers)
    return SceneWriter(chat, ModelConfig(name="m"), seed=0), chat


class Model:
    """A model on loopback whose scenes and answers can be changed."""

    def __init__(self) -> None:
        numbers = count()
        self.write: Callable[[], str] = lambda: scene(next(numbers))
        self.tension = TENSION
        self.written = 0
        self.server = Provider(reply=self._reply)

    def _reply(self, body: Body) -> str:
        if not is_writing(body):
            return self.tension
        self.written += 1
        return self.write()

    def config(self, folder: Path, *words: str) -> RunConfig:
        told = {"name": "model-a", "base_url": self.server.base_url, **PRICES}
        options = [f"invent.model.{key}={value}" for key, value in told.items()]
        out = f"invent.out={folder / 'new.jsonl'}"
        return compose(places(folder, out, "api.concurrency=4", *options, *words))


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    with serving(model.server):
        yield model


def result(folder: Path) -> Any:
    return read_json(folder / "inventions" / "latest" / "invention.json")


def test_good_scenes_are_written_and_can_be_trained_on(model: Model, tmp_path: Path) -> None:
    config = model.config(tmp_path, "invent.count=30")
    check_before_invention(config)
    invent_scenes(config)
    file = tmp_path / "new.jsonl"
    scenes = read_scenes(file)
    assert len(scenes) == len({each.env_id for each in scenes}) == 30
    assert scenes[0].age_constraint == "[(18, 60), (30, 70)]"
    assert scenes[0].occupation_constraint == "[, cook]"
    trained = compose(
        ["env=open", f"env.path={file}", "policy=checkpoint", "policy.name=m", "judge=hybrid",
         "++judge.model.name=m", "++judge.model.base_url=http://127.0.0.1:9/v1"]
    )  # fmt: skip
    contexts = {each.scenario for each in scenes if scene_split(each) == "train"}
    drawn = trained.env.draw("train", len(contexts))
    assert {scenario.context for scenario in drawn} == contexts
    assert all("Extra information" in goal for scenario in drawn for goal in scenario.goals)
    assert result(tmp_path)["dropped"] == {}


def test_a_near_duplicate_is_dropped_without_a_second_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = open_scenes("test")[0]
    copy = scene(0, scenario=own.scenario.upper())
    first = read_scene(scene(1), env_id="x", source="m")
    for reply, why in (
        (copy, "like one of Parley's own scenes"),
        (scene(1), "like a scene in the file"),
    ):
        writer, chat = writer_of(reply)
        attempt = asyncio.run(writer.attempt(0, Known([first])))
        assert (attempt.scene, attempt.dropped, len(chat.requests)) == (None, why, 1)
    monkeypatch.setattr("training.play.scene_writer.is_benchmark", lambda found: True)
    writer, chat = writer_of(scene(2))
    assert asyncio.run(writer.attempt(0, Known([]))).dropped == "like one of SOTOPIA's 90 scenes"
    assert len(chat.requests) == 1


def test_a_reply_that_is_refused_is_asked_for_again_with_the_reason() -> None:
    for bad, fault in (
        ("Once upon a time", "no JSON object"),
        (scene(1, relationship=7), "relationship: Input should be less than or equal to 5"),
        (scene(1, goals=["one"]), "goals: List should have at least 2 items"),
        (scene(1, youngest=[70, 20]), "the ages 70 to 60 are no range"),
        (scene(1, scenario=" "), "a text in it is empty"),
        (scene(1, scenario="A <b>bar</b>"), "angle bracket"),
    ):
        writer, chat = writer_of(bad, f"<think>Hm.</think> {scene(2)}", TENSION)
        attempt = asyncio.run(writer.attempt(5, Known([])))
        assert attempt.scene is not None
        assert attempt.scene.env_id == "invented-0-00005"
        assert fault in chat.requests[1].messages[-1].content
        assert {request.purpose for request in chat.requests} == {"scenes"}


def test_scenes_without_tension_are_dropped_and_no_scene_at_all_is_an_alarm(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.tension = '{"reason": "Both want tea.", "in_tension": false}'
    with pytest.raises(SystemExit) as ended:
        invent_scenes(model.config(tmp_path, "invent.count=3", "invent.tries=2"))
    assert ended.value.code == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "dropped 6: no tension between the goals" in said
    assert "alarm: No scene survived; the last attempt: no tension between the goals (Both" in said
    assert result(tmp_path)["dropped"] == {"no tension between the goals": 6}


def test_a_model_that_writes_nonsense_ends_soon_and_loses_nothing(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new.jsonl"
    good = read_scene(scene("good"), env_id="mine", source="me")
    file.write_text(good.model_dump_json())  # a line without its end, as editors leave it
    model.write = lambda: "I would rather sing."
    with pytest.raises(SystemExit):
        invent_scenes(model.config(tmp_path, "invent.count=100"))
    assert scenes_in(file) == [good]
    assert model.written == MAX_ASKS * PATIENCE
    said = " ".join(capsys.readouterr().out.split())
    assert f"dropped {PATIENCE}: no reply that could be read" in said
    assert "there was no JSON object in it" in said


def test_the_same_command_goes_on_where_it_was(model: Model, tmp_path: Path) -> None:
    words = ("invent.count=12", "seed=3")
    with pytest.raises(BudgetError):
        invent_scenes(model.config(tmp_path, *words, "max_calls=17"))
    before = scenes_in(tmp_path / "new.jsonl")
    assert 0 < len(before) < 12
    invent_scenes(model.config(tmp_path, *words))
    after = scenes_in(tmp_path / "new.jsonl")
    assert after[: len(before)] == before
    assert [each.env_id for each in after] == [f"invented-3-{n:05d}" for n in range(12)]
    assert model.written == 12, "no answer was paid for twice"
    invent_scenes(model.config(tmp_path, *words))
    assert model.written == 12

    (tmp_path / "new.jsonl").unlink()  # the answers alone give the same scenes again
    invent_scenes(model.config(tmp_path, *words, "api.offline=true"))
    assert scenes_in(tmp_path / "new.jsonl") == after


def test_scenes_of_one_wave_are_compared_too(model: Model, tmp_path: Path) -> None:
    replies = iter([scene(0), scene(0), *map(scene, range(1, 9))])
    model.write = lambda: next(replies)
    invent_scenes(model.config(tmp_path, "invent.count=4"))
    assert len({each.scenario for each in scenes_in(tmp_path / "new.jsonl")}) == 4
    assert result(tmp_path)["dropped"] == {"like a scene in the file": 1}


def test_a_dry_run_shows_the_cost_and_calls_nobody(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_invention_estimate(model.config(tmp_path, "invent.count=10"))
    said = " ".join(capsys.readouterr().out.split())
    # 1.5 attempts a scene, two questions each; at most 4 attempts, each question asked twice
    assert "about 30 calls, at most 160" in said
    assert model.written == 0


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "set invent.model.name=NAME"),
        (["invent.model.name=m", "invent.out=new.txt"], "a file whose name ends in .jsonl"),
    ],
)
def test_what_is_missing_is_named(words: list[str], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        check_before_invention(compose(words))


def test_a_file_of_something_else_is_left_alone(model: Model, tmp_path: Path) -> None:
    (tmp_path / "new.jsonl").write_text('{"my": "notes"}\n')
    with pytest.raises(DataError, match=r"new\.jsonl, line 1"):
        check_before_invention(model.config(tmp_path))


def test_the_command_exits_with_status_1_when_nothing_survives(
    model: Model, tmp_path: Path
) -> None:
    model.write = lambda: "?"
    words = [
        f"invent.out={tmp_path / 'new.jsonl'}", f"output_root={tmp_path}", "invent.count=1",
        "invent.tries=1", "invent.model.name=m", f"invent.model.base_url={model.server.base_url}",
    ]  # fmt: skip
    command = [sys.executable, "-m", "envs.scenarios.invent", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "alarm: No scene survived" in done.stdout
