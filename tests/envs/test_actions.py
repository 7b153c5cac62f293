"""Codecs: what is well formed comes back, what is not becomes an invalid action with a reason."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.actions import CODECS, MAX_ACTION_CHARS, Codec, JsonCodec, LineCodec, Reply, split_note
from envs.types import Action, ActionType

codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=list(CODECS))

words = st.text(
    st.characters(
        exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp"),
        exclude_characters="\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    ),
    min_size=1,
    max_size=20,
)
arguments = st.lists(words, min_size=1, max_size=6).map(" ".join)
valid_actions = st.one_of(
    st.builds(
        Action,
        st.sampled_from([ActionType.SPEAK, ActionType.NON_VERBAL, ActionType.ACT]),
        arguments,
    ),
    st.sampled_from([Action(ActionType.LEAVE), Action(ActionType.NONE)]),
)


@codecs
@given(action=valid_actions)
def test_a_written_action_is_read_back(codec: Codec, action: Action) -> None:
    assert codec.decode(codec.encode(action)) == action
    assert codec.decode(f"<think>they\nwant it</think>\n{codec.encode(action)}") == action


@codecs
@given(text=st.text())
def test_any_text_is_a_well_formed_action(codec: Codec, text: str) -> None:
    action = codec.decode(text)
    if action.invalid is None:
        assert codec.decode(codec.encode(action)) == action
        assert bool(action.argument) == (action.type not in (ActionType.NONE, ActionType.LEAVE))
    else:
        assert action == Action(ActionType.NONE, "", invalid=action.invalid)
        assert action.invalid.startswith("got ")


@codecs
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "got no action"),
        (" \n ", "got no action"),
        ("<think>my limit is 5</think>", "got no action"),
        ("<think>my limit is 5", "got no action"),
        ("x" * 1_000_000, "got 1000000 characters, expected at most 10000"),
        ("say a\x07b", r"got the character U\+0007"),
        ("say a\u202eb", r"got the character U\+202E"),
        ("say a\ud800b", r"got the character U\+D800"),
    ],
)
def test_bad_text_gets_a_reason(codec: Codec, text: str, reason: str) -> None:
    assert re.search(reason, codec.decode(text).invalid or "")


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("say hello  there", Action(ActionType.SPEAK, "hello there")),
        ("SAY: hi", None),
        ("Gesture nods", Action(ActionType.NON_VERBAL, "nods")),
        ("do offer you book=1", Action(ActionType.ACT, "offer you book=1")),
        (" leave ", Action(ActionType.LEAVE)),
        ("none", Action(ActionType.NONE)),
        ("say", None),
        ("leave me alone", None),
        ("say one\nsay two", None),
        ("hello", None),
    ],
)
def test_line_codec(text: str, action: Action | None) -> None:
    decoded = LineCodec().decode(text)
    if action is None:
        assert decoded.invalid is not None
    else:
        assert decoded == action


SPEAK = '{"action_type": "speak", "argument": "hi"}'


@pytest.mark.parametrize(
    "text",
    [SPEAK, f"```json\n{SPEAK}\n```", f"```\n{SPEAK}```", f"  {SPEAK}\n", SPEAK.replace(" ", "\n")],
)
def test_json_codec_reads_one_object_with_or_without_a_fence(text: str) -> None:
    assert JsonCodec().decode(text) == Action(ActionType.SPEAK, "hi")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (SPEAK + SPEAK, "more after the first"),
        (f"```json\n{SPEAK}\n```\n```json\n{SPEAK}\n```", "not JSON|more after"),
        (f"Sure! {SPEAK}", "not JSON at character 0"),
        ("[1]", "a JSON list, expected an object"),
        ("[" * 9_000, "beyond all measure"),
        ("9" * 9_000, "beyond all measure"),
        ("{}", "got action_type None"),
        ('{"action_type": "shout", "argument": "hi"}', "got action_type 'shout'"),
        ('{"action_type": ["speak"], "argument": "hi"}', "got action_type"),
        ('{"action_type": "speak", "argument": 3}', "an argument of type int"),
        ('{"action_type": "speak", "argument": null}', "an argument of type NoneType"),
        ('{"action_type": "speak"}', "without words"),
        ('{"action_type": "none", "action_type": "leave"}', "a key twice"),
        (r'{"action_type": "speak", "argument": "a\u0000b"}', r"U\+0000"),
        (r'{"action_type": "speak", "argument": "a\ud800b"}', r"U\+D800"),
    ],
)
def test_json_codec_says_what_is_wrong(text: str, reason: str) -> None:
    assert re.search(reason, JsonCodec().decode(text).invalid or "")


def test_json_codec_writes_sotopias_fields() -> None:
    written = json.loads(JsonCodec().encode(Action(ActionType.NON_VERBAL, "nods \u263a")))
    assert written == {"action_type": "non-verbal communication", "argument": "nods \u263a"}


def test_words_after_leaving_are_dropped_as_sotopia_does() -> None:
    text = '{"action_type": "leave", "argument": "Bye!"}'
    assert JsonCodec().decode(text) == Action(ActionType.LEAVE)


def test_an_action_of_the_greatest_length_is_allowed() -> None:
    text = "say " + "x" * (MAX_ACTION_CHARS - 4)
    assert LineCodec().decode(text).invalid is None
    assert LineCodec().decode(text + "x").invalid is not None


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("say hi", Reply(None, "say hi")),
        (" <think> a\nb </think> say hi ", Reply("a\nb", "say hi")),
        ("<think>never closed\nsay hi", Reply("never closed\nsay hi", "")),
        ("say <think>x</think>", Reply(None, "say <think>x</think>")),
    ],
)
def test_the_private_note_is_parted_from_the_action(text: str, reply: Reply) -> None:
    assert split_note(text) == reply


# Words and an act in one turn, and prose


YES, HM = Action(ActionType.ACT, "accept"), Action(ActionType.SPEAK, "Hm.")
BOTH = Action(ActionType.ACT, "offer price=12", words="Twelve is fair.")


@pytest.mark.parametrize(
    ("text", "action"),
    [
        (
            '{"action_type": "speak", "argument": "Twelve is fair.", "act": "offer price=12"}',
            BOTH,
        ),
        (
            '{"action_type": "speak", "argument": "", "act": "accept"}',
            Action(ActionType.ACT, "accept"),
        ),
        (
            '{"action_type": "none", "argument": "", "act": "accept"}',
            Action(ActionType.ACT, "accept"),
        ),
        ('{"action_type": "action", "argument": "accept"}', YES),
        ('{"action_type": "speak", "argument": "Hm.", "act": ""}', HM),
        (
            '{"action_type": "speak", "argument": "Hm.", "act": null}',
            Action(ActionType.SPEAK, "Hm."),
        ),
    ],
)
def test_json_holds_words_and_an_act(text: str, action: Action) -> None:
    assert CODECS["json"].decode(text) == action


def test_words_and_an_act_are_written_and_read_back() -> None:
    text = CODECS["json"].encode(BOTH)
    assert text == (
        '{"action_type": "speak", "argument": "Twelve is fair.", "act": "offer price=12"}'
    )
    assert CODECS["json"].decode(text) == BOTH


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"action_type": "leave", "argument": "", "act": "accept"}', "together with leaving"),
        ('{"action_type": "speak", "argument": "Hm.", "act": 3}', "an act of type int"),
        ('{"action_type": "speak", "argument": "Hm.", "act": "a\\u0007"}', "U+0007"),
    ],
)
def test_an_act_that_cannot_be_read(text: str, reason: str) -> None:
    invalid = CODECS["json"].decode(text).invalid
    assert invalid is not None
    assert reason in invalid


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Twelve,\nplease.", Action(ActionType.SPEAK, "Twelve, please.")),
        ("<think>12-8=4</think> Twelve.", Action(ActionType.SPEAK, "Twelve.")),
        ('Sure: {"action_type": "leave", "argument": ""} Bye.', Action(ActionType.LEAVE)),
    ],
)
def test_prose_is_speech_where_it_may_be(text: str, action: Action) -> None:
    assert JsonCodec(prose_is_speech=True).decode(text) == action
    assert JsonCodec().decode(text).invalid is not None


@pytest.mark.parametrize("text", ["", '{"action_type": "speak", "argument": "cut o', "Well {ok}"])
def test_broken_json_is_no_speech(text: str) -> None:
    assert JsonCodec(prose_is_speech=True).decode(text).invalid is not None
