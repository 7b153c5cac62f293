"""Whatever a writer of scenes replies, it is a scene that can be stored, or it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given

from envs.errors import UnscoredError
from envs.scenarios.markup import check_markup, seen_by
from envs.scenarios.open_ended import scene_split
from envs.scenarios.records import EnvironmentRecord
from tests.outside_data import check_sentence, dumped, fuzz, in_no_time, long_texts, mutated, torn
from training.play.scene_writer import read_scene, read_tension

WRITTEN = {
    "scenario": "Two friends meet at a harbour.",
    "goals": ["Borrow the boat.", "Keep the boat."],
    "extra_information": ["You have sold yours.", "You promised it to your sister."],
    "relationship": 3,
    "youngest": [18, 30],
    "oldest": [60, 70],
    "occupations": ["", "cook"],
}
TENSION = {"reason": "Only one can have it.", "in_tension": True}


def check_scene(text: str) -> None:
    """Valid: it is stored and read back as the same, and each seat sees its own goal."""
    try:
        with in_no_time(1.0):
            scene = read_scene(text, env_id="invented-0-00001", source="m")
    except UnscoredError as error:
        check_sentence(error, most=300)
        return
    assert EnvironmentRecord.model_validate(json.loads(scene.model_dump_json())) == scene
    assert scene_split(scene) in ("train", "dev", "test")
    for seat, goal in enumerate(scene.agent_goals):
        assert "Extra information: " in seen_by(check_markup(goal), seat)
        assert "<" not in seen_by(goal, seat)


@example(WRITTEN | {"x" * 5000: 1, "\x1b[2J\n": 2})
@example(WRITTEN | {"relationship": int("9" * 4000)})
@fuzz(120)
@given(said=mutated(WRITTEN))
def test_any_scene_is_in_order_or_refused(said: Any) -> None:
    check_scene(dumped(said))


@fuzz(60)
@given(content=torn(dumped(WRITTEN).encode()))
def test_any_torn_scene_is_in_order_or_refused(content: bytes) -> None:
    check_scene(content.decode("utf-8", "surrogateescape"))


@fuzz(60)
@given(said=mutated(TENSION))
def test_any_answer_about_tension_is_one_or_refused(said: Any) -> None:
    try:
        answer = read_tension(dumped(said))
    except UnscoredError as error:
        check_sentence(error, most=300)
    else:
        assert answer.in_tension in (True, False)
        answer.reason.encode()


@pytest.mark.parametrize("field", WRITTEN)
def test_no_scene_takes_long(field: str) -> None:
    for text in long_texts("a", " ", "<", "(", "( ", "\\", '"', "\n"):
        check_scene(dumped(WRITTEN | {field: [text, text] if field != "scenario" else text}))
