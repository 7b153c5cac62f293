"""The store of answers: same question, same answer; shared by processes, and whole after a kill."""

from __future__ import annotations

import hashlib
import json
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.chat import ChatRequest, Message, Reply
from engines.remote.answer_store import AnswerStore, Policy, answer_key
from envs.errors import ConfigError, RemoteError, StoreError

ROOT = Path(__file__).resolve().parents[2]
GREEDY = ChatRequest((Message("system", "Be brief."), Message("user", "Hi \u263a")), 0.0, 64)
SAMPLED = replace(GREEDY, temperature=0.7)
REPLY = Reply("Hello", "gpt-4o-2024-08-06", 12, 3, cost_usd=0.25, finish_reason="length")


def test_an_answer_comes_back_whole_and_costs_nothing_again(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "new" / "answers.sqlite") as answers:
        key = answer_key("gpt-4o", GREEDY)
        assert answers.get(key) is None
        answers.put(key, GREEDY, REPLY)
        assert answers.get(key) == replace(REPLY, cost_usd=0.0, is_cached=True)
    with AnswerStore(tmp_path / "new" / "answers.sqlite") as answers:
        assert answers.get(key) == replace(REPLY, cost_usd=0.0, is_cached=True)


def test_the_request_is_kept_whole(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    request = replace(GREEDY, schema={"type": "object"}, purpose="judge", seed=7)
    with AnswerStore(path) as answers:
        answers.put(answer_key("m", request), request, REPLY)
    db = sqlite3.connect(path)
    (said, replied) = db.execute("SELECT request, reply FROM answers").fetchone()
    db.close()
    assert json.loads(said) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi \u263a"},
        ],
        "temperature": 0.0,
        "max_tokens": 64,
        "seed": 7,
        "schema": {"type": "object"},
        "purpose": "judge",
    }
    assert json.loads(replied)["cost_usd"] == 0.25


def test_the_first_answer_stays(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "answers.sqlite") as answers:
        answers.put("key", GREEDY, REPLY)
        answers.put("key", GREEDY, replace(REPLY, text="Another"))
        found = answers.get("key")
    assert found is not None
    assert found.text == "Hello"


@pytest.mark.parametrize(
    "other",
    [
        {"messages": (Message("user", "Be brief."), Message("user", "Hi \u263a"))},
        {"messages": (Message("system", "Be brief.Hi \u263a"),)},
        {"temperature": 0.8},
        {"temperature": None},
        {"max_tokens": 65},
        {"schema": {"type": "object"}},
        {"seed": 1},
    ],
)
def test_whatever_an_answer_depends_on_is_in_its_key(other: dict[str, Any]) -> None:
    assert answer_key("m", SAMPLED) != answer_key("m", replace(SAMPLED, **other))


def test_model_and_weights_are_in_the_key() -> None:
    keys = {
        answer_key("m", GREEDY),
        answer_key("m@127.0.0.1:8000", GREEDY),
        answer_key("m", GREEDY, weights_version="1"),
        answer_key("m", GREEDY, weights_version="2"),
    }
    assert len(keys) == 4


def test_what_makes_no_difference_is_not_in_the_key() -> None:
    key = answer_key("m", GREEDY)
    assert answer_key("m", replace(GREEDY, seed=5)) == key  # at temperature 0 all samples are one
    assert answer_key("m", replace(GREEDY, temperature=0)) == key
    assert answer_key("m", replace(GREEDY, purpose="judge")) == key


def test_a_key_stays_what_it_was() -> None:
    # a change of the key's recipe would make every store of answers that exists worthless
    recipe = (
        '{"model":"gpt-4o","weights_version":"7",'
        r'"messages":[["system","Be brief."],["user","Hi \u263a"]],'
        '"temperature":0.0,"max_tokens":64,"schema":null,"seed":null}'
    )
    known = hashlib.sha256(recipe.encode()).hexdigest()
    assert answer_key("gpt-4o", GREEDY, weights_version="7") == known


@given(st.text(), st.text())
def test_any_text_has_a_key_of_its_own(one: str, other: str) -> None:
    requests = [replace(GREEDY, messages=(Message("user", text),)) for text in (one, other)]
    keys = {answer_key("m", request) for request in requests}
    assert len(keys) == (1 if one == other else 2)


@pytest.mark.parametrize(
    ("policy", "covered"),
    [("off", (False, False, False)), ("greedy", (True, False, False)), ("all", (True, True, True))],
)
def test_the_policy_says_what_is_kept(tmp_path: Path, policy: Policy, covered: object) -> None:
    asked = (GREEDY, SAMPLED, replace(GREEDY, temperature=None))
    with AnswerStore(tmp_path / "answers.sqlite", policy=policy) as answers:
        assert tuple(answers.covers(request) for request in asked) == covered
    with AnswerStore(tmp_path / "answers.sqlite", policy=policy, offline=True) as answers:
        assert all(answers.covers(request) for request in asked)


def test_offline_nobody_is_called(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with pytest.raises(ConfigError, match="offline=false"):
        AnswerStore(path, offline=True)
    with AnswerStore(path) as answers:
        answers.put("key", GREEDY, REPLY)
    with AnswerStore(path, offline=True) as answers:
        assert answers.get("key") is not None
        with pytest.raises(RemoteError, match="holds no answer"):
            answers.get("another")


def test_a_misspelt_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'gready', but must be one of off, greedy, all"):
        AnswerStore(tmp_path / "answers.sqlite", policy="gready")  # type: ignore[arg-type]


def test_another_file_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_text("not a database, but long enough to be taken for one by its size" * 20)
    with pytest.raises(StoreError, match="is such a store"):
        AnswerStore(path)
    path.unlink()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="choose a folder"):
        AnswerStore(tmp_path / "file" / "answers.sqlite")


WRITER = """
import sys
from pathlib import Path
from engines.chat import ChatRequest, Message, Reply
from engines.remote.answer_store import AnswerStore
name, count = sys.argv[2], int(sys.argv[3])
with AnswerStore(Path(sys.argv[1])) as answers:
    for k in range(count):
        request = ChatRequest((Message("user", f"{name} {k} " + "x" * 3000),), 0.0, 9)
        answers.put(f"{name} {k}", request, Reply(f"{k}", name, 1, 1, 0.0))
        print(k, flush=True)
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def is_whole(path: Path) -> bool:
    db = sqlite3.connect(path)
    try:
        return bool(db.execute("PRAGMA integrity_check").fetchone() == ("ok",))
    finally:
        db.close()


def test_several_processes_share_a_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    names = ("a", "b", "c")
    with AnswerStore(path) as answers:
        for process in [writer(path, name, 600) for name in names]:
            process.communicate()
            assert process.returncode == 0
        found = [answers.get(f"{name} {k}") for name in names for k in range(600)]
    assert [reply and reply.text for reply in found] == [str(k) for _ in names for k in range(600)]
    assert is_whole(path)


def test_a_killed_process_loses_no_answer_and_holds_up_nobody(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with writer(path, "a", 10**9) as process:
        assert process.stdout is not None
        for _ in range(1500):
            process.stdout.readline()
        process.kill()
        said = process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    with AnswerStore(path) as answers:
        kept = [answers.get(f"a {k}") for k in range(1500 + len(said))]
        answers.put("after", GREEDY, REPLY)
    assert None not in kept
    assert is_whole(path)
