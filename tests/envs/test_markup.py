"""Who may read which words of SOTOPIA's scenes and goals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.scenarios.markup import check_markup, seen_by, seen_by_all

GOAL = (
    "Buy it (<extra_info>Extra information: you have $5"
    "<strategy_hint>Hint: bluff</strategy_hint></extra_info>)"
)


def test_extra_info_is_shown_and_hints_are_not() -> None:
    assert seen_by(GOAL, 0) == "Buy it (Extra information: you have $5)"
    assert seen_by("Ask (<clarification_hint>Hint: shyly</clarification_hint>)", 1) == "Ask"


def test_extra_info_of_a_scene_is_not_for_everybody() -> None:
    assert seen_by_all(GOAL) == "Buy it"


def test_paragraphs_are_for_their_viewer_alone() -> None:
    text = 'Party. <p viewer="environment">It is Al.</p><p viewer="agent_1">You know Al.</p>'
    assert seen_by_all(text) == "Party."
    assert seen_by(text, 0) == "Party."
    assert seen_by(text, 1) == "Party. You know Al."


def test_what_is_no_tag_is_text() -> None:
    assert seen_by("1 < 2, McKinsey & Company <3", 0) == "1 < 2, McKinsey & Company <3"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<extra_inf>x</extra_inf>", "'<extra_inf>' is unknown"),
        ('<p viewer="judge">x</p>', "is unknown"),
        ("<extra_info>x", "<extra_info> is never closed"),
        ("x</strategy_hint>", "closes what is not open"),
        ("<extra_info><strategy_hint>x</extra_info></strategy_hint>", "closes what is not open"),
    ],
)
def test_bad_markup_is_named(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_markup(text)


@given(st.text(alphabet="abc &(){}\n", max_size=30), st.integers(0, 1))
def test_hidden_words_never_show(words: str, seat: int) -> None:
    text = check_markup(f"{words}<strategy_hint>{words}XYZ</strategy_hint>{words}")
    assert "XYZ" not in seen_by(text, seat) + seen_by_all(text)
