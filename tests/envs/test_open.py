"""Our own characters and open scenarios: there, varied, split, and worth a look."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from envs.contract import check_family
from envs.errors import DataError
from envs.scenarios import SPLITS, draw, scenario_of
from envs.scenarios.characters import CAST
from envs.scenarios.likeness import ALIKE, is_benchmark, likeness, most_alike, sketch, sketches
from envs.scenarios.open_ended import draw_open, open_scenes, read_scenes
from envs.types import Relationship

SCENES = [scene for split in SPLITS for scene in open_scenes(split)]


@pytest.mark.parametrize("split", SPLITS)
def test_open_scenarios_keep_the_contract(split: str) -> None:
    check_family(lambda index: draw_open.__wrapped__(split, index), count=30)


def test_there_are_thirty_scenes_in_splits_that_share_none() -> None:
    assert len(SCENES) >= 30
    assert len({scene.env_id for scene in SCENES}) == len(SCENES)
    assert len({scene.scenario for scene in SCENES}) == len(SCENES)
    assert min(len(open_scenes(split)) for split in SPLITS) >= 6


def test_all_relationships_occur() -> None:
    assert {Relationship(scene.relationship) for scene in SCENES} == set(Relationship)


def test_every_goal_has_something_private_to_it() -> None:
    goals = [goal for scene in SCENES for goal in scene.agent_goals]
    assert all("<extra_info>" in goal for goal in goals)
    assert len(set(goals)) == len(goals)


def test_twenty_characters_with_all_fields() -> None:
    assert len(CAST) == 20
    for field in ("name", "id", "secret", "public_info", "occupation", "personality_and_values"):
        assert len({getattr(profile, field) for profile in CAST}) == 20, field
    for profile in CAST:
        assert profile.age is not None
        assert profile.big_five
        assert profile.moral_values
        assert profile.schwartz_personal_values
        assert profile.decision_making_style
    assert len({profile.gender for profile in CAST}) >= 3


def test_scenes_take_turns_and_characters_change() -> None:
    scenes = len(open_scenes("dev"))
    first, again = draw("open", "dev", 0), draw("open", "dev", scenes)
    assert first.context == again.context
    assert first.profiles != again.profiles
    assert first.task is None
    played = Counter(p.name for i in range(200) for p in draw("open", "train", i).profiles)
    assert len(played) == 20


def test_an_id_is_enough() -> None:
    assert scenario_of("open/test/11") == draw_open("test", 11)
    with pytest.raises(DataError, match="no split 'hard'; splits are train, dev, test"):
        draw("open", "hard", 0)


def test_scenes_are_counted_split_and_unlike_each_other_and_the_benchmark() -> None:
    assert {split: len(open_scenes(split)) for split in SPLITS} == {
        "train": 72,
        "dev": 24,
        "test": 24,
    }
    # The first ones were measured on, and stay where they were.
    assert open_scenes("test")[7].codename == "auction_rivals"
    drawn = [sketches(scene)[0] for scene in SCENES]
    assert max(most_alike(own, drawn[:n]) for n, own in enumerate(drawn)) < ALIKE
    assert not any(is_benchmark(scene) for scene in SCENES)


def test_the_benchmark_is_recognised_by_its_words(published: Path) -> None:
    file = published / "sotopia" / "environment_profiles.jsonl"
    for record in read_scenes(file):
        assert is_benchmark(record)
        changed = {"scenario": f"{record.scenario} !", "agent_goals": ("One.", "Two.")}
        assert is_benchmark(record.model_copy(update=changed)), record.codename


def test_likeness_by_hand() -> None:
    # Runs of three words: {a b c, b c d} and {a b c, b c e} share one of three.
    assert likeness(sketch("a b c d"), sketch("A, b: c e")) == pytest.approx(1 / 3)
    assert likeness(sketch("a b c d"), sketch("a b c d.")) == 1
    assert most_alike(sketch("a b c"), []) == 0
