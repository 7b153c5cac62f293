"""SOTOPIA's files: small ones written here, and its own where they are at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from envs.contract import check_environments, check_privacy, check_scenario
from envs.errors import DataError
from envs.scenarios import scenario_of
from envs.scenarios.dollars import DollarTask
from envs.scenarios.families.item_split import SplitTask
from envs.scenarios.friends import FriendsTask
from envs.scenarios.records import read_text
from envs.scenarios.sotopia import (
    CONTESTED_CODENAMES,
    CONTESTED_SOURCES,
    PROTOCOL,
    SPLITS,
    load_sotopia,
    read_sotopia,
)
from envs.social import view_of
from envs.types import Relationship, Scenario

Files = dict[str, list[dict[str, Any]]]
SCENE = {
    "env_id": "e1",
    "codename": "tea",
    "source": "hand-craft",
    "scenario": 'Tea. <p viewer="environment">It is poisoned.</p>',
    "agent_goals": [
        "Drink (<extra_info>Extra information: you are thirsty</extra_info>)",
        "Warn (<strategy_hint>Hint: whisper</strategy_hint>)",
    ],
    "relationship": "2",
    "age_constraint": "[(18, 70), (18, 70)]",
    "occupation_constraint": "nan",
    "agent_constraint": "none",
}


def agent(name: str) -> dict[str, Any]:
    return {
        "agent_id": name,
        "first_name": name.title(),
        "age": 30,
        "gender_pronoun": "They/them",
        "public_info": f"{name} is public",
        "moral_values": ["Care", " Fairness"],
        "secret": f"{name} is a spy",
        "mbti": "INFJ",
    }


@pytest.fixture
def files() -> Files:
    """Two scenes, three characters, three combinations of which one is hard."""
    combos = [
        {"combo_id": "c1", "env_id": "e2", "agent_ids": ["ann", "bo"]},
        {"combo_id": "c2", "env_id": "e1", "agent_ids": ["bo", "cy"]},
        {"combo_id": "c3", "env_id": "e1", "agent_ids": ["cy", "ann"]},
    ]
    return {
        "environment_profiles.jsonl": [SCENE, SCENE | {"env_id": "e2", "codename": "yell"}],
        "agent_profiles.jsonl": [agent("ann"), agent("bo"), agent("cy")],
        "env_agent_combo_storages.jsonl": combos,
        "relationship_profiles.jsonl": [
            {"relationship_id": "r", "agent1_id": "ann", "agent2_id": "bo", "relationship": "3"}
        ],
        "hard_combos.json": [{"pk": "c3", "env_id": "e1", "agent_ids": ["cy", "ann"]}],
    }


def write(files: Files, folder: Path) -> Path:
    for name, records in files.items():
        lines = "\n".join(map(json.dumps, records)) + "\n"
        (folder / name).write_text(lines if name.endswith("l") else json.dumps(records))
    return folder


def test_every_combination_in_the_order_of_the_scenes(files: Files, tmp_path: Path) -> None:
    write(files, tmp_path)
    assert [s.id for s in load_sotopia(tmp_path)] == [
        "sotopia/e1/c2",
        "sotopia/e1/c3",
        "sotopia/e2/c1",
    ]
    assert [s.id for s in load_sotopia(tmp_path, "hard")] == ["sotopia/e1/c3"]
    assert [s.id for s in load_sotopia(tmp_path, "cooperative")] == [
        "sotopia/e1/c2",
        "sotopia/e1/c3",
    ]
    # The codename "yell" is on the list of contested scenarios.
    assert [s.id for s in load_sotopia(tmp_path, "competitive")] == ["sotopia/e2/c1"]


def test_each_seat_sees_what_it_may(files: Files, tmp_path: Path) -> None:
    scenario = load_sotopia(write(files, tmp_path))[0]
    assert scenario.context == "Tea."
    assert scenario.goals == ("Drink (Extra information: you are thirsty)", "Warn")
    assert scenario.relationship is Relationship.ACQUAINTANCE
    assert scenario.profiles[0].moral_values == ("Care", "Fairness")
    seen = view_of(scenario, 0)
    partner = seen.partners[0]
    assert partner is not None
    assert (partner.name, partner.public_info, partner.secret) == ("Cy", "cy is public", "")
    assert seen.profile.secret == "bo is a spy"
    check_privacy(scenario)


@pytest.mark.parametrize(
    ("file", "record", "change", "where"),
    [
        ("environment_profiles.jsonl", 1, {"relationship": "6"}, "line 2, field 'relationship'"),
        ("environment_profiles.jsonl", 0, {"mood": "bad"}, "line 1, field 'mood': got 'bad'"),
        ("environment_profiles.jsonl", 0, {"agent_goals": ["one"]}, "line 1, field 'agent_goals'"),
        ("environment_profiles.jsonl", 0, {"scenario": "<extra_info>"}, "is never closed"),
        ("environment_profiles.jsonl", 0, {"age_constraint": "[(70, 18)]"}, "ages 70 to 18"),
        ("environment_profiles.jsonl", 1, {"env_id": "e1"}, "line 2: the id 'e1' is used twice"),
        ("agent_profiles.jsonl", 2, {"age": -1}, "line 3, field 'age': got -1"),
        ("agent_profiles.jsonl", 0, {"age": "old"}, "line 1, field 'age': got 'old'"),
        ("env_agent_combo_storages.jsonl", 1, {"env_id": "e9"}, "line 2, field 'env_id': got 'e9'"),
        (
            "env_agent_combo_storages.jsonl",
            2,
            {"agent_ids": ["cy", "dee"]},
            "line 3, field 'agent_ids.1': got 'dee', which is not in agent_profiles.jsonl",
        ),
        (
            "env_agent_combo_storages.jsonl",
            0,
            {"agent_ids": ["ann", "bo", "cy"]},
            "got 3 characters for a scenario with 2 goals",
        ),
    ],
)
def test_errors_name_file_line_and_field(
    files: Files, tmp_path: Path, file: str, record: int, change: dict[str, Any], where: str
) -> None:
    files[file][record] = files[file][record] | change
    write(files, tmp_path)
    with pytest.raises(DataError) as caught:
        load_sotopia(tmp_path)
    assert where in str(caught.value)
    assert str(tmp_path / file) in str(caught.value)


def test_errors_of_files_that_only_some_splits_need(files: Files, tmp_path: Path) -> None:
    files["hard_combos.json"][0]["agent_ids"] = ["cy", "dee"]
    files["relationship_profiles.jsonl"][0]["agent2_id"] = "dee"
    write(files, tmp_path)
    assert len(load_sotopia(tmp_path)) == 3
    with pytest.raises(DataError, match=r"hard_combos.json, entry 1, field 'agent_ids.1'"):
        load_sotopia(tmp_path, "hard")
    with pytest.raises(DataError, match=r"line 1, field 'agent2_id': got 'dee'"):
        _ = read_sotopia(tmp_path).relationships
    (tmp_path / "hard_combos.json").unlink()
    with pytest.raises(DataError, match="There is no file"):
        load_sotopia(tmp_path, "hard")


def test_what_is_no_folder_json_or_split_is_named(files: Files, tmp_path: Path) -> None:
    write(files, tmp_path)
    with pytest.raises(DataError, match="no split 'easy', expected one of all, hard"):
        load_sotopia(tmp_path, "easy")
    with pytest.raises(DataError, match="There is no folder"):
        load_sotopia(tmp_path / "nowhere")
    with (tmp_path / "agent_profiles.jsonl").open("a") as file:
        file.write("{'single': 'quotes'}\n")
    with pytest.raises(
        DataError, match=r"agent_profiles\.jsonl, line 4: got text that is not JSON"
    ):
        load_sotopia(tmp_path)


def test_ids_of_files_point_to_the_loader() -> None:
    with pytest.raises(DataError, match="load_sotopia"):
        scenario_of("sotopia/e1/c1")


def all_of_sotopia(published: Path, split: str = "all") -> list[Scenario]:
    return load_sotopia(published / "sotopia", split)


def test_sotopia_loads_whole(published: Path) -> None:
    files = read_sotopia(published / "sotopia")
    counts = (len(files.environments), len(files.agents), len(files.combos))
    assert counts == (90, 40, 450)
    assert (len(files.relationships), len(files.hard)) == (120, 70)
    assert {split: len(all_of_sotopia(published, split)) for split in SPLITS} == {
        "all": 450,
        "hard": 70,
        "cooperative": 215,
        "competitive": 235,
    }


def test_cooperative_and_competitive_part_all(published: Path) -> None:
    """The stated rule; every name in it is one of SOTOPIA's, or it would rot unseen."""
    parts = [{s.id for s in all_of_sotopia(published, split)} for split in SPLITS[2:]]
    assert parts[0].isdisjoint(parts[1])
    assert parts[0] | parts[1] == {s.id for s in all_of_sotopia(published)}
    environments = read_sotopia(published / "sotopia").environments
    assert {e.codename for e in environments} >= CONTESTED_CODENAMES
    assert {e.source for e in environments} >= CONTESTED_SOURCES


def test_a_third_of_sotopia_can_be_checked(published: Path) -> None:
    def count(split: str, kind: type) -> int:
        return sum(isinstance(s.task, kind) for s in all_of_sotopia(published, split))

    # Five combinations a scene.
    assert [count("all", kind) for kind in (SplitTask, DollarTask, FriendsTask)] == [50, 50, 50]
    assert [count("hard", kind) for kind in (SplitTask, DollarTask, FriendsTask)] == [5, 20, 0]


def test_the_public_checkers_pass_on_all_of_sotopia(published: Path) -> None:
    one_of_each = {s.id.split("/")[1]: s for s in all_of_sotopia(published)}
    assert len(one_of_each) == 90
    for scenario in one_of_each.values():
        check_scenario(scenario)
        check_environments(scenario, cycles=30)


def test_no_view_of_sotopia_tells_what_is_not_for_it(published: Path) -> None:
    for scenario in all_of_sotopia(published):
        check_privacy(scenario)
        for seat in (0, 1):
            view = view_of(scenario, seat)
            told = f"{view.context} {view.goal}"
            assert "common friends" not in told
            assert "Hint:" not in told
            assert "<extra_info>" not in told


def test_plain_sotopia_has_no_tasks_and_no_words_of_ours(published: Path) -> None:
    plain = load_sotopia(published / "sotopia", verifiable=False)
    ours = all_of_sotopia(published)
    assert len(plain) == len(ours)
    assert all(scenario.task is None and "offer" not in scenario.goals[0] for scenario in plain)
    assert not {s.id for s in plain} & {s.id for s in ours}
    for bare, full in zip(plain, ours, strict=True):
        assert full.context.startswith(bare.context)


def test_the_protocol_has_a_version() -> None:
    name, _, version = PROTOCOL.partition("/")
    assert name
    assert int(version) >= 1


def test_what_is_no_file_is_not_read_for_ever(tmp_path: Path) -> None:
    pipe, device = tmp_path / "scenes.jsonl", tmp_path / "zeros.jsonl"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    for path in (pipe, device):
        with pytest.raises(DataError, match="is a device or a pipe, expected a file"):
            read_text(path)
