"""Where demonstrations come from: a model that talks to itself, stores and files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import torch

from agents.chat_template import ChatTemplate
from agents.prompts import STYLES
from envs.errors import ConfigError, DataError
from envs.scenarios.open_ended import open_scenes
from tests.engines.remote_provider import Body, Provider, serving
from tests.envs.logs import ANA, BEN, GOALS, episode_log, in_scene
from tests.tiny_models import instruct_model, instruct_tokenizer
from tests.training.provided import is_judged, places, read_json, replies, served
from tests.training.quick import without_reports
from tests.training.test_scene_training import SIZES
from training.cli.compose import compose
from training.config import RunConfig
from training.learning import stage0
from training.learning.demonstrations import message_row
from training.learning.sources.base import Demonstrations, Stage0
from training.learning.sources.files import FileOptions
from training.loop import train
from training.methods.sources import SOURCES
from training.preflight.checks import check_before_training
from training.preflight.cost import cost_estimate
from training.preflight.workload import training_workload

TEMPLATE = ChatTemplate(instruct_tokenizer())
SHORT = "Yes."
LONG = "I would like to hear more about that."


def answer(body: Body) -> str:
    """Talks at length in some scenes only; a judge that likes every second seat."""
    if is_judged(body):
        found = json.loads(replies(body))
        for n, agent in enumerate(found.values()):
            agent["goal"] = 9 if n % 2 else 3
        return json.dumps(found)
    said = LONG if len(body["messages"][0]["content"]) % 2 else SHORT
    return json.dumps({"action_type": "speak", "argument": said})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    without_reports(monkeypatch)
    before = torch.get_num_threads()
    with serving(Provider(reply=answer)) as found:
        yield found
    torch.set_num_threads(before)


@pytest.fixture
def words(server: Provider, tmp_path: Path) -> list[str]:
    """A run of stage 0 and a final comparison alone."""
    instruct_model().save_pretrained(tmp_path / "model")
    instruct_tokenizer().save_pretrained(tmp_path / "model")
    asked = [word for who in ("judge", "demonstrations") for word in served(server, who)]
    return places(
        tmp_path, "env=open", "judge=rubric", "judge.samples=1", "critic=random", *SIZES,
        "iterations=0", "evaluation.curve_scenarios=0", f"policy.name={tmp_path / 'model'}",
        "cloning.dialogues=6", "cloning.drills=0", "demonstrations=self_chat", *asked,
    )  # fmt: skip


def test_a_model_that_talks_to_itself_is_cloned(
    words: list[str], server: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose(words)
    check_before_training(config)
    (line,) = (
        line for line in cost_estimate(config, training_workload(config)).lines
        if line.account.purpose == "demonstrations"
    )  # fmt: skip
    assert line.expected.calls == 2 * 6 * 2, "both seats of six dialogues of about three turns"
    folder = train(config)
    summary = read_json(folder / "summary.json")
    told = summary["demonstrations"]
    assert told["read"] == 6
    assert told["kept"] + sum(told["dropped"].values()) == 12
    assert told["dropped"]["had a goal below 7"] == 6
    assert told["dropped"]["said fewer than 3 words a turn"] > 0
    assert 0 < told["dialogues"] <= told["kept"] < 6
    assert told["alarm"].startswith(f"{12 - told['kept']} of 12 demonstrated seats were left out")
    assert f"ALARM: {told['alarm']}" in summary["notes"]
    shown = " ".join(capsys.readouterr().out.split())
    assert f"alarm: {12 - told['kept']} of 12 demonstrated seats" in shown
    before, after = instruct_model(), stage0.load_checkpoint(folder / "checkpoints/0000").model
    assert not torch.equal(before.lm_head.weight, after.lm_head.weight)
    again = train(config)
    assert read_json(again / "summary.json")["demonstrations"] == told, "also from the cache"

    replayed = from_file(config, folder)
    assert replayed.kept == told["kept"] + told["dropped"]["said fewer than 3 words a turn"]
    assert replayed.dropped["were of held-out scenarios"] > 0, "the final comparison"


def from_file(config: RunConfig, path: Path, **limits: float) -> Demonstrations:
    """What the source `file` finds there for that run; it asks nobody."""

    def nobody(model: object) -> NoReturn:
        raise AssertionError(model)

    stage = Stage0(config, TEMPLATE, nobody, lambda done, total: None)
    return SOURCES["file"].make(FileOptions(path=str(path), **limits), stage)  # type: ignore[arg-type, no-any-return]


def test_too_little_is_said_before_anything_is_trained_and_nothing_is_lost(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage0, "clone", None)
    config = compose([*words, "demonstrations.min_goal=10"])
    with pytest.raises(ConfigError, match=r"none was kept.* 12 had a goal below 10") as caught:
        train(config)
    (folder,) = re.findall(r"demonstrations\.path=(\S+) reads", str(caught.value))
    assert from_file(config, folder, min_goal=9, min_kept=6).kept == 6
    with pytest.raises(ConfigError, match=r"only 6 were kept, expected 7 or more") as caught:
        from_file(config, folder, min_goal=9, min_kept=7)
    assert "Seats that were left out: 6 had a goal below 9." in str(caught.value)
    found = from_file(config, folder, min_goal=9)
    (longest, *_, shortest) = sorted((len(row.token_ids) for row in found.rows), reverse=True)
    fewer = from_file(config, folder, min_goal=9, max_tokens=longest - 1)
    assert shortest < longest
    assert 0 < fewer.kept == 6 - fewer.dropped[f"had more than {longest - 1} tokens"] < 6


def test_a_demonstrator_that_writes_nonsense_is_told_and_trains_nobody(
    words: list[str], server: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage0, "clone", None)
    server._reply = lambda body: answer(body) if is_judged(body) else "\u0007{\u0007"
    config = compose([*words, "demonstrations.min_goal=0"])
    with pytest.raises(ConfigError, match=r"none was kept.* 12 had no valid turn") as caught:
        train(config)
    (folder,) = re.findall(r"demonstrations\.path=(\S+) reads", str(caught.value))
    with pytest.raises(ConfigError, match=r"of 6 dialogues of .*: 12 had no valid turn"):
        from_file(config, folder, min_goal=0)


def test_options_that_change_the_demonstrations_change_the_cache(words: list[str]) -> None:
    model, names = instruct_model(), set()
    for more in ([], ["demonstrations.min_goal=8"], ["judge.samples=2"], ["cloning.dialogues=7"]):
        names.add(stage0._fingerprint(compose([*words, *more]), model))
    assert len(names) == 4


def stage(**env: object) -> Any:
    config = SimpleNamespace(cloning=SimpleNamespace(drills=0, dialogues=9, notes=True), seed=0)
    config.env = SimpleNamespace(
        checkable={}, difficulty="medium", max_turns=20, names=("open",), scene_file=None,
        train_on_benchmark=False,
    )  # fmt: skip
    vars(config.env).update(env)
    return SimpleNamespace(config=config, template=TEMPLATE, style=STYLES["full"])


def conversation(*said: str) -> dict[str, list[dict[str, str]]]:
    senders = ("system", "human", "gpt", "human", "gpt")
    told = zip(senders, said, strict=False)
    return {"conversations": [{"from": who, "value": what} for who, what in told]}


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_a_share_gpt_file_is_read(tmp_path: Path, ending: str) -> None:
    bad = {"conversations": [{"from": "gpt", "value": "a"}, {"from": "gpt", "value": "b"}]}
    told = [conversation("You are Ana.", "Begin.", LONG, "Hm.", SHORT), bad]
    text = json.dumps(told) if ending == "json" else "\n".join(map(json.dumps, told))
    place = tmp_path / f"said.{ending}"
    place.write_text(text)
    spec = SOURCES["file"]
    found = spec.make(spec.options(path=str(place)), stage())
    (row,) = found.rows
    learned = [t for t, is_own in zip(row.token_ids, row.loss_mask, strict=True) if is_own]
    end = instruct_tokenizer().eos_token
    assert instruct_tokenizer().decode(learned) == f"{LONG}{end}{SHORT}{end}"
    assert sum(found.dropped.values()) == 1
    place.write_text('[{"conversations": [{"from": "gpt"}]}]')
    with pytest.raises(DataError, match="cannot be read"):
        spec.make(spec.options(path=str(place)), stage())


def test_episode_logs_are_read(tmp_path: Path) -> None:
    def told(**options: Any) -> Demonstrations:
        return SOURCES["file"].make(FileOptions(path=str(place), **options), stage())  # type: ignore[no-any-return]

    place = tmp_path / "logs.jsonl"
    held_out = in_scene(open_scenes("dev")[0].scenario)
    silent = episode_log() | {"messages": [[]]}
    logs = [episode_log(), held_out, silent, episode_log(goals=(9, 9))]
    place.write_text("\n".join(map(json.dumps, logs)), encoding="utf-8")
    found = told()
    assert (found.read, found.dialogues, found.kept) == (4, 2, 3)
    assert found.dropped == {
        "had a goal below 7": 1, "were of held-out scenarios": 2, "did not name both agents": 2,
    }  # fmt: skip
    assert found.alarm() is None, "as many seats were left out as kept"
    with pytest.raises(ConfigError, match="only 2 were kept, expected 3 or more"):
        told(min_kept=3)
    text = instruct_tokenizer().decode(
        max(found.rows, key=lambda row: len(row.token_ids)).token_ids
    )
    assert GOALS[ANA] in text or GOALS[BEN] in text
    assert "(Turns left: 20)" in text or "(Turns left: 19)" in text
    place.write_text(json.dumps(episode_log()) + '\n{"environment": "e"}', encoding="utf-8")
    with pytest.raises(DataError, match=r"logs\.jsonl, line 2, field 'agents'"):
        told()


def test_a_log_that_is_longer_than_the_run_counts_its_own_turns(tmp_path: Path) -> None:
    place = tmp_path / "logs.json"
    place.write_text(json.dumps([episode_log(goals=(9, 9))]), encoding="utf-8")
    found = SOURCES["file"].make(FileOptions(path=str(place)), stage(max_turns=3))
    texts = [instruct_tokenizer().decode(row.token_ids) for row in found.rows]
    assert all("(Turns left: -" not in text for text in texts)
    assert any("(Turns left: 5)" in text for text in texts)


def test_a_conversation_without_a_reply_gives_no_row() -> None:
    assert message_row([("system", "a"), ("human", "b")], TEMPLATE) is None
    assert message_row([], TEMPLATE) is None


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        (
            ["demonstrations=file", "demonstrations.path=nowhere"],
            "demonstrations.path is 'nowhere'",
        ),
        (["cloning.drills=4"], "cloning.drills is 4"),
        (["seed=1", "demonstrations.min_kept=7"], "demonstrations.min_kept is 7, but no more than"),
        (["demonstrations=experts"], "scripted experts cannot play"),
    ],
)
def test_what_cannot_be_cloned_is_refused(words: list[str], more: list[str], fault: str) -> None:
    given = [w for w in words if not ("demonstrations" in w and "demonstrations" in more[0])]
    with pytest.raises(ConfigError) as caught:
        check_before_training(compose([*given, *more]))
    assert fault in str(caught.value)
