"""What is shown of an episode and what a program remarks on it, by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from envs.types import Action, ActionType, EndReason, Episode, Profile, Turn
from judges.transcript_view import (
    MAX_WORDS_CHARS,
    NO_CONTENT,
    drawn_labels,
    has_content,
    labels,
    shown_episode,
    shown_turns,
)

Play = Callable[..., Episode]


def test_long_words_are_cut_and_it_is_said() -> None:
    turn = Turn(0, 0, Action(ActionType.SPEAK, "no " * 3_000))
    (shown,) = shown_turns([turn], labels(2))
    assert len(str(shown["words"])) == MAX_WORDS_CHARS
    assert shown["remark"] == "cut: it had 9000 characters"


@pytest.mark.parametrize(
    ("words", "remark"),
    [
        ("." * 5_000 + "Yes.", "cut: it had 5004 characters"),
        ("Thought process:" + "\n" * 5_000, NO_CONTENT),
        ("\u200b" * 5_000 + "Yes.", None),  # what nobody sees is not counted
    ],
)
def test_remarks_are_on_all_that_was_said(words: str, remark: str | None) -> None:
    (shown,) = shown_turns([Turn(0, 0, Action(ActionType.SPEAK, words))], labels(2))
    assert shown.get("remark") == remark


@pytest.mark.parametrize(
    "words",
    [":", "...", " \n", "Thought process:", "thought process", "Let's think step by step.",
     "Let\u2019s solve this problem step by step:", "Solution", "**Final answer:**", "\u3002"],
)  # fmt: skip
def test_empty_words_are_marked_by_a_program(words: str) -> None:
    assert not has_content(words)
    (shown,) = shown_turns([Turn(0, 0, Action(ActionType.SPEAK, words))], labels(2))
    assert (shown["words"], shown["remark"]) == (words, NO_CONTENT)


@pytest.mark.parametrize(
    "words",
    ["no", "7", "你好", "\U0001f642", "Thought process: I want the hat.", "My reasoning is simple",
     "Let's think about it.", "The solution is to share."],
)  # fmt: skip
def test_words_that_say_something_are_not_marked(words: str) -> None:
    assert has_content(words)
    (shown,) = shown_turns([Turn(0, 0, Action(ActionType.SPEAK, words))], labels(2))
    assert "remark" not in shown


def test_both_private_sides_are_shown_in_the_order_of_labels(play: Play) -> None:
    episode = play("say hello", "gesture nods", "leave")
    ann = Profile("Ann", "Lee", 30, "baker", moral_values=("care",), secret="sings")
    scenario = replace(episode.scenario, profiles=(ann, Profile("Ben")), goals=("Win.", "Lose."))
    shown = shown_episode(replace(episode, scenario=scenario), labels(2, swapped=True))
    assert shown == {
        "scene": "Five coins lie on a table.",
        "relationship": "stranger",
        "agents": {
            "agent_A": {"name": "Ben", "background": "", "secret": "", "private_goal": "Lose."},
            "agent_B": {
                "name": "Ann Lee",
                "background": "30 years old; baker; care",
                "secret": "sings",
                "private_goal": "Win.",
            },
        },
        "turns": [
            {"turn": 0, "agent": "agent_B", "does": "speak", "words": "hello"},
            {"turn": 1, "agent": "agent_A", "does": "non-verbal communication", "words": "nods"},
            {"turn": 2, "agent": "agent_B", "does": "leave"},
        ],
        "ending": "an agent left",
    }
    assert list(shown["agents"]) == ["agent_A", "agent_B"]  # type: ignore[call-overload]


@pytest.mark.parametrize("end", EndReason)
def test_every_ending_has_words(play: Play, end: EndReason) -> None:
    assert shown_episode(replace(play("leave"), end=end), labels(2))["ending"]


def test_labels() -> None:
    assert labels(2) == ("agent_A", "agent_B")
    assert labels(3, swapped=True) == ("agent_C", "agent_B", "agent_A")


def test_labels_are_drawn_from_the_scenario_and_swapped_in_every_other_sample(play: Play) -> None:
    scenarios = [replace(play("leave").scenario, id=f"coins-{n}") for n in range(40)]
    drawn = [drawn_labels(scenario) for scenario in scenarios]
    assert 10 <= drawn.count(labels(2)) <= 30
    for scenario, names in zip(scenarios, drawn, strict=True):
        assert drawn_labels(scenario, 1) == names[::-1]
        assert drawn_labels(scenario, 2) == names
