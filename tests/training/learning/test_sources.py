"""Where demonstrations come from: a model that talks to itself, stores and files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from agents.chat_template import ChatTemplate
from envs.errors import ConfigError, DataError
from tests.engines.remote_provider import Body, Provider, serving
from tests.tiny_models import instruct_model, instruct_tokenizer
from tests.training.provided import is_judged, places, read_json, replies, served
from tests.training.quick import without_reports
from tests.training.test_scene_training import SIZES
from training.cli.compose import compose
from training.learning import stage0
from training.learning.demonstrations import message_row
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


def test_a_model_that_talks_to_itself_is_cloned(words: list[str], server: Provider) -> None:
    config = compose(words)
    check_before_training(config)
    (line,) = (
        line for line in cost_estimate(config, training_workload(config)).lines
        if line.account.purpose == "demonstrations"
    )  # fmt: skip
    assert line.expected.calls == 2 * 6 * 2, "both seats of six dialogues of about three turns"
    folder = train(config)
    told = read_json(folder / "summary.json")["demonstrations"]
    assert told["kept"] + sum(told["dropped"].values()) == 12
    assert told["dropped"]["had a goal below 7"] == 6
    assert told["dropped"]["said fewer than 3 words a turn"] > 0
    assert told["kept"] > 0
    before, after = instruct_model(), stage0.load_checkpoint(folder / "checkpoints/0000").model
    assert not torch.equal(before.lm_head.weight, after.lm_head.weight)
    again = train(config)
    assert read_json(again / "summary.json")["demonstrations"] == told, "also from the cache"

    from_run = compose(
        [word for word in words if not word.startswith(("demonstrations", "++demonstrations"))]
        + ["demonstrations=file", f"demonstrations.path={folder}"]
    )
    with pytest.raises(ConfigError, match=r"none was kept. .* were of held-out scenarios"):
        train(from_run)


def test_nothing_kept_is_said(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"none was kept.* 12 had a goal below 10"):
        train(compose([*words, "demonstrations.min_goal=10"]))


def test_options_that_change_the_demonstrations_change_the_cache(words: list[str]) -> None:
    model, names = instruct_model(), set()
    for more in ([], ["demonstrations.min_goal=8"], ["judge.samples=2"], ["cloning.dialogues=7"]):
        names.add(stage0._fingerprint(compose([*words, *more]), model))
    assert len(names) == 4


def stage(**cloning: int) -> Any:
    config = SimpleNamespace(cloning=SimpleNamespace(drills=0, dialogues=9, **cloning), seed=0)
    config.env = SimpleNamespace(checkable={}, difficulty="medium")
    config.policy = SimpleNamespace(prompt_style="full")
    return SimpleNamespace(config=config, template=TEMPLATE, style=None)


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
        (["demonstrations=experts"], "scripted experts cannot play"),
    ],
)
def test_what_cannot_be_cloned_is_refused(words: list[str], more: list[str], fault: str) -> None:
    given = [w for w in words if not ("demonstrations" in w and "demonstrations" in more[0])]
    with pytest.raises(ConfigError) as caught:
        check_before_training(compose([*given, *more]))
    assert fault in str(caught.value)
