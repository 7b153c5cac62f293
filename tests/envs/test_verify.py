"""The command that checks published data: its tables and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envs.scenarios.verify import main
from tests.envs.test_human import AGREED, DEAL, changed


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def sotopia(tmp_path: Path) -> Path:
    """One bargain, two characters, one combination that is hard; and CaSiNo's files beside it."""
    folder = tmp_path / "sotopia"
    folder.mkdir()
    (tmp_path / "casino").mkdir()
    scene = {
        "env_id": "e",
        "codename": "kayak",
        "source": "craigslist_bargains",
        "scenario": "A kayak for $30.",
        "agent_goals": ["Be the buyer: target price $18.", "Be the seller: target price $15."],
        "relationship": 0,
    }
    combo = {"combo_id": "c", "env_id": "e", "agent_ids": ["a", "b"]}
    agents = [{"agent_id": name, "first_name": name, "age": 30} for name in "ab"]
    (folder / "environment_profiles.jsonl").write_text(json.dumps(scene))
    (folder / "agent_profiles.jsonl").write_text("\n".join(map(json.dumps, agents)))
    (folder / "env_agent_combo_storages.jsonl").write_text(json.dumps(combo))
    (folder / "hard_combos.json").write_text(json.dumps([combo]))
    tie = {"relationship_id": "r", "agent1_id": "a", "agent2_id": "b", "relationship": "1"}
    (folder / "relationship_profiles.jsonl").write_text(json.dumps(tie))
    (tmp_path / "casino" / "casino_valid.json").write_text(json.dumps([DEAL]))
    return folder


def test_what_loads_and_what_is_attainable(
    sotopia: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(sotopia)]) == 0
    shown = capsys.readouterr().out
    # Limits $28 and $5: at best the buyer pays ten cents, the seller gets the listed $30.
    assert "$27.90 / $25" in shown
    assert "$10 / $10" in shown
    assert "price=16.50" in shown
    assert "1 (100.0%)" in shown


def test_disagreement_is_listed_and_fails(
    sotopia: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(
        json.dumps([changed("participant_info.mturk_agent_1.outcomes.points_scored", 22)])
    )
    dialogues = tmp_path / "val.txt"
    dialogues.write_text(AGREED)
    options = ["--casino", str(wrong), "--dealornodeal", str(dialogues)]
    assert main([str(sotopia), *options]) == 1
    shown = capsys.readouterr().out
    assert "casino/wrong/7 disagrees" in shown
    assert "0 (0.0%)" in shown
    assert "1 (100.0%)" in shown


def test_bad_data_is_a_sentence_and_no_traceback(
    sotopia: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sotopia / "agent_profiles.jsonl").write_text("{}")
    assert main([str(sotopia)]) == 2
    assert "agent_profiles.jsonl, line 1, field 'agent_id'" in capsys.readouterr().err


def test_the_published_data_verifies(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(published / "sotopia")]) == 0
    shown = capsys.readouterr().out
    for words in ("parley-sotopia/1", "900 (100.0%)", "30 (100.0%)", "1087 (100.0%)"):
        assert words in shown
