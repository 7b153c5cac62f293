"""SOTOPIA's episode logs: who did what in which turn, who knew what, and what is wrong with one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from envs.errors import DataError
from envs.scenarios.episode_logs import (
    EpisodeLogs,
    LoggedDialogue,
    is_episode_log,
    read_episode_logs,
)
from envs.scenarios.open_ended import open_scenes
from envs.scenarios.records import read_values
from envs.types import ActionType, Profile, Relationship
from tests.envs.logs import ANA, BEN, BIO, GOALS, SAID, SCENE, episode_log, in_scene, scores


def read(*logs: dict[str, Any]) -> EpisodeLogs:
    return read_episode_logs([(f"f.jsonl, line {n}", log) for n, log in enumerate(logs, 1)])


def only(log: dict[str, Any]) -> LoggedDialogue:
    (found,) = read(log).dialogues
    return found


def test_turns_are_what_each_agent_did_when_it_could_act() -> None:
    found = only(episode_log())
    assert [(t.index, t.seat, t.action.type, t.action.argument) for t in found.turns] == [
        (0, 0, ActionType.SPEAK, 'Good morning, Ben. That fence is "done" for.'),
        (1, 1, ActionType.NON_VERBAL, "shakes his head"),
        (2, 0, ActionType.NONE, ""),
        (3, 1, ActionType.ACT, "props up a post"),
        (4, 0, ActionType.LEAVE, ""),
    ]
    assert found.goals == (8, 4)


def test_each_seat_has_the_goal_and_the_character_that_it_was_told() -> None:
    scenario = only(episode_log()).scenario
    assert (scenario.context, scenario.goals) == (SCENE, (GOALS[ANA], GOALS[BEN]))
    assert (scenario.family, scenario.split, scenario.task) == ("sotopia", "train", None)
    assert scenario.relationship is Relationship.KNOW_BY_NAME, "both names are told"
    assert scenario.profiles[0] == Profile(
        "Ana",
        "Ruiz",
        age=34,
        occupation="nurse",
        gender="Woman",
        pronoun="She/her",
        public_info="Ana keeps bees.",
        personality_and_values="Ana is warm, and blunt.",
        secret="She broke the fence herself.",
    )
    odd = episode_log()
    odd["messages"][0][0][2] = odd["messages"][0][0][2].replace(BIO[ANA], "A nurse. Hates bees.")
    assert only(odd).scenario.profiles[0] == Profile("Ana", "Ruiz", secret="A nurse. Hates bees.")


@pytest.mark.parametrize(
    ("other", "known"),
    [
        ("", Relationship.KNOW_BY_NAME),
        ("X is a 51-year-old male baker. He/him pronouns. X sings.", Relationship.ACQUAINTANCE),
        (BIO[BEN].partition(" Ben's secrets")[0], Relationship.FRIEND),
    ],
)
def test_how_well_they_know_each_other_is_what_they_were_told(
    other: str, known: Relationship
) -> None:
    assert only(episode_log(other=other)).scenario.relationship is known


def test_published_logs_have_other_names_and_the_goals_beside_the_messages() -> None:
    own = episode_log()
    log = {
        "episode_id": own["pk"],
        "environment_id": own["environment"],
        "agent_ids": own["agents"],
        "raw_messages": [
            [[who, to, "" if who == "Environment" else text] for who, to, text in turn]
            for turn in own["messages"]
        ],
        "raw_rewards": own["rewards"],
        "rewards": own["rewards"],
        "scenario": SCENE,
        "social_goals": {n: f"{g} <extra_info>Soon.</extra_info>" for n, g in GOALS.items()},
    }  # fmt: skip
    found = only(log)
    assert found.turns == only(own).turns
    assert found.scenario.goals == tuple(f"{goal} Soon." for goal in GOALS.values())
    assert is_episode_log(log)
    assert is_episode_log(own)
    assert not is_episode_log({"conversations": []})


def test_what_gives_no_dialogue_is_counted_by_its_reason() -> None:
    three, at_once, bare, silent = (episode_log() for _ in range(4))
    three |= {"agents": ["a", "b", "c"], "rewards": [0.0] * 3}
    at_once["messages"][1][3][2] = 'said: "Me, too."'
    bare["messages"][0] = [
        [s, r, "" if s == "Environment" else t] for s, r, t in bare["messages"][0]
    ]
    silent["messages"] = [silent["messages"][-1]]
    private = episode_log()
    private["messages"][0][1][2] = private["messages"][0][1][2].replace(SCENE, f"{SCENE} You hid.")
    others = (bare, silent, private, episode_log(other_goal="To win."))
    found = read(episode_log(), three, at_once, *others)
    assert (found.read, len(found.dialogues)) == (7, 1)
    assert found.left_out == Counter(
        {
            "had more than two agents": 1,
            "had turns in which both acted at once": 1,
            "did not show the scene and both goals": 1,
            "had no turn": 1,
            "told an agent the other's goal": 1,
            "told the agents different scenes": 1,
        }
    )


def test_unscored_agents_have_no_goal_and_private_words_are_words() -> None:
    log = episode_log((*SAID[:1], (BEN, "[private to ['Ana Ruiz']]  said: \"Hush.\"")))
    log["rewards"] = [0.0, scores(7)]
    found = only(log)
    assert found.goals == (None, 7)
    assert found.turns[1].action.argument == "Hush."
    (_, empty) = only(episode_log((*SAID[:1], (BEN, 'said: ""')))).turns
    assert empty.action.invalid is not None


def test_scenes_of_the_benchmark_are_for_measuring() -> None:
    path = Path(__file__).resolve().parents[3] / "shared/data/sotopia/environment_profiles.jsonl"
    if not path.is_file():
        pytest.skip(f"no published data at {path}")
    scene = json.loads(path.read_text(encoding="utf-8").splitlines()[0])["scenario"]
    assert only(in_scene(scene)).scenario.split == "test"
    assert only(in_scene(open_scenes("dev")[0].scenario)).scenario.split == "train"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"rewards": [0.0]}, "1 rewards for 2 agents"),
        ({"rewards": [scores(11), 0.0]}, "expected 0 to 10"),
        ({"messages": []}, "field 'messages': got"),
        ({"agents": ["one"]}, "field 'agents': got"),
        ({"environment": 3}, "field 'environment': got 3"),
        ({"messages": [[["Environment", ANA]]]}, "field 'messages"),
    ],
)
def test_a_bad_record_is_named(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(DataError, match=r"f\.jsonl, line 2, field") as caught:
        read(episode_log(), episode_log() | change)
    assert fault in str(caught.value)


def test_a_message_that_is_no_action_is_named() -> None:
    with pytest.raises(DataError, match=r"line 1, field 'messages\.1': got 'hums', expected 'said"):
        read(episode_log((SAID[0], (BEN, "hums"))))


def test_records_are_numbered_as_they_stand_in_their_file(tmp_path: Path) -> None:
    lines, listed = tmp_path / "a.jsonl", tmp_path / "a.json"
    lines.write_text('{"a": "\u2028"}\n\n[1]\n', encoding="utf-8")
    assert read_values(lines) == [(f"{lines}, line 1", {"a": "\u2028"}), (f"{lines}, line 3", [1])]
    listed.write_text("[1, 2]")
    assert read_values(listed) == [(f"{listed}, entry 1", 1), (f"{listed}, entry 2", 2)]
    listed.write_text("{}")
    with pytest.raises(DataError, match="holds a JSON dict, expected a list"):
        read_values(listed)
    lines.write_text("{}\n{")
    with pytest.raises(DataError, match="line 2: got text that is not JSON"):
        read_values(lines)
