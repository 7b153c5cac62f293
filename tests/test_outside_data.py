"""Whatever comes from outside is read, or refused by a sentence; nothing else comes out.

Valid data is changed at random: see `outside_data`. Verdicts, servers' words, waits and typed lines
have properties of their own beside their tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.remote.completion import read_completion
from engines.remote.endpoint import Endpoint
from envs.actions import CODECS
from envs.scenarios.episode_logs import read_episode_logs
from envs.scenarios.open_ended import open_scenes, read_scenes
from envs.scenarios.records import AgentRecord, read_json_list, read_jsonl, read_values
from envs.types import ActionType
from judges.choice import read_choice
from tests.envs.logs import episode_log
from tests.outside_data import changed_bytes, changed_json, read_or_refused, to_text
from training.evaluation.study import read_studies
from training.evaluation.trials import read_trial
from training.play.scene_writer import read_scene, read_tension
from training.storage.files import read_object
from training.storage.gguf_header import read_header
from training.storage.learned import LEARNED, learned_options
from training.storage.manifest import MANIFEST, check_files
from training.storage.run_files import METRICS, SUMMARY, read_metrics_file, result_fault
from training.storage.run_options import read_config

ROOT = Path(__file__).resolve().parents[1]
AGENT = {
    "agent_id": "a1",
    "first_name": "Ana",
    "last_name": "Ruiz",
    "age": 34,
    "occupation": "nurse",
    "moral_values": ["care", "fairness"],
    "secret": "She broke the fence.",
}
SCENE = open_scenes("train")[0].model_dump(mode="json")
WRITTEN = {
    "scenario": "Two people meet at a fair.",
    "goals": ["Sell the horse.", "Get the horse."],
    "extra_information": ["You need the money.", "You have little."],
    "relationship": 1,
    "youngest": [18, 20],
    "oldest": [60, 80],
    "occupations": ["", "farmer"],
}
COMPLETION = {
    "id": "c",
    "model": "m",
    "choices": [{"message": {"content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    "error": None,
}
RECORD = json.loads((ROOT / "docs/results/methods/bc-seed0.json").read_text())


@dataclass(frozen=True)
class Form:
    """A kind of file, with one that is valid and what reads it."""

    name: str
    valid: Any
    read: Callable[[Path], object]

    def __str__(self) -> str:
        return self.name


def _logs(file: Path) -> object:
    return read_episode_logs(read_values(file))


FILES = [
    Form("agents.jsonl", AGENT, lambda file: read_jsonl(file, AgentRecord)),
    Form(
        "agents.json", [AGENT, AGENT | {"agent_id": "a2"}], lambda f: read_json_list(f, AgentRecord)
    ),
    Form("scenes.jsonl", SCENE, read_scenes),
    Form("logs.jsonl", episode_log(), _logs),
    Form(METRICS, {"iteration": 1, "update": {"loss": 0.5}}, lambda f: read_metrics_file(f.parent)),
    Form(SUMMARY, {"policies": {}}, lambda file: result_fault(None, file.parent, SUMMARY)),
    Form("record.json", RECORD | {"values": {}, "clone": None}, read_trial),
    Form("tokenizer_config.json", {"eos_token": "</s>"}, read_object),
    Form(LEARNED, {"policy": {"style": "full"}}, lambda file: learned_options(str(file.parent))),
    Form(MANIFEST, {"sha256": {"weights": "0" * 64}}, lambda file: check_files(file.parent)),
]
YAML_FILES = [
    Form("config.yaml", "seed: 0\nenv: {families: {price: 1.0}}\n- a\n", read_config),
    Form("studies.yaml", (ROOT / "docs/real_models/studies.yaml").read_text(), read_studies),
]
TEXTS: dict[str, tuple[Any, Callable[[str], object]]] = {
    "a written scene": (WRITTEN, lambda text: read_scene(text, env_id="e", source="m")),
    "tension": ({"reason": "Both want it.", "in_tension": True}, read_tension),
    "a choice": (
        {"reason": "Of all.", "turn": 3},
        lambda text: read_choice(text, "turn", [1, 3, None], ["agent_A", "agent_B"]),
    ),
}

many = settings(max_examples=150, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("form", FILES, ids=str)
@many
@given(data=st.data())
def test_a_changed_file_is_read_or_refused(
    form: Form, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("f") / form.name
    is_json = data.draw(st.booleans())
    valid = to_text(form.valid)
    content = (
        to_text(data.draw(changed_json(form.valid))).encode()
        if is_json
        else data.draw(changed_bytes(valid.encode()))
    )
    file.write_bytes(content)
    read_or_refused(lambda: form.read(file))


@pytest.mark.parametrize("form", FILES, ids=str)
def test_the_valid_file_is_read(form: Form, tmp_path: Path) -> None:
    file = tmp_path / form.name
    file.write_text(to_text(form.valid))
    (tmp_path / "weights").touch()
    form.read(file)


@pytest.mark.parametrize("form", YAML_FILES, ids=str)
@many
@given(data=st.data())
def test_changed_yaml_is_read_or_refused(
    form: Form, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("f") / form.name
    file.write_bytes(data.draw(changed_bytes(form.valid.encode())))
    read_or_refused(lambda: form.read(file))


@pytest.fixture(scope="module")
def gguf_head(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The head of a small GGUF file."""
    pytest.importorskip("gguf")
    from tests.gguf_files import write_gguf
    from tests.tiny_models import instruct_model, instruct_tokenizer

    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(file, instruct_model(), instruct_tokenizer())
    return file.read_bytes()[:4000]


@many
@given(data=st.data())
def test_a_changed_gguf_head_is_read_or_refused(
    data: st.DataObject, gguf_head: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("f") / "model.gguf"
    file.write_bytes(data.draw(changed_bytes(gguf_head)))
    read_or_refused(lambda: read_header(file))


@pytest.mark.parametrize("name", TEXTS)
@many
@given(data=st.data())
def test_a_models_reply_is_read_or_refused(name: str, data: st.DataObject) -> None:
    valid, read = TEXTS[name]
    text = data.draw(
        changed_json(valid).map(to_text)
        | changed_bytes(to_text(valid).encode()).map(lambda b: b.decode(errors="replace"))
        | st.text()
    )
    read_or_refused(lambda: read(text))


@pytest.mark.parametrize("codec", CODECS)
@many
@given(data=st.data())
def test_any_turn_is_an_action(codec: str, data: st.DataObject) -> None:
    valid = {"action_type": "speak", "argument": "Hello.", "act": "offer 3"}
    text = data.draw(
        changed_json(valid).map(to_text)
        | changed_bytes(to_text(valid).encode()).map(lambda b: b.decode(errors="replace"))
        | st.text()
        | st.sampled_from(("<think>" * 1000, "</think>" * 1000, "{" * 100_000, "offer " * 9999))
    )
    assert CODECS[codec].decode(text).type in ActionType


@many
@given(data=st.data())
def test_any_body_is_an_answer_or_a_failure(data: st.DataObject) -> None:
    body = data.draw(
        changed_json(COMPLETION).map(lambda value: to_text(value).encode())
        | changed_bytes(to_text(COMPLETION).encode())
    )
    found = read_completion(Endpoint("m", base_url="http://127.0.0.1:1/v1"), body, "sk-planted-key")
    assert "sk-planted-key" not in repr(found)
