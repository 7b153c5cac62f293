"""A prompt shows a seat's own side and the transcript, and nothing of the other's mind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.prompts import STYLES, style_of
from envs.errors import ConfigError
from envs.scenarios import FAMILIES, draw
from envs.social import view_of
from envs.types import Action, ActionType, Profile, Relationship, Scenario, Turn

SECRET = "xyzzy"
both_styles = pytest.mark.parametrize("style", STYLES)
scenes = st.builds(
    lambda family, index, relationship: replace(
        draw(family, "test", index), relationship=relationship
    ),
    st.sampled_from(list(FAMILIES)),
    st.integers(0, 200),
    st.sampled_from(Relationship),
)


def prompt(style: str, scenario: Scenario, seat: int, turns: Sequence[Turn] = ()) -> str:
    view = view_of(scenario, seat)
    heard = [turn for turn in turns if turn.seat != seat]
    return STYLES[style].system(view) + "\n" + STYLES[style].new_turns(view, heard)


def with_other_mind(scenario: Scenario, other: int) -> Scenario:
    """The same with another goal, brief, secret and task of the seat `other`, all of one word."""

    def changed(values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(SECRET if seat == other else v for seat, v in enumerate(values))

    profiles = tuple(
        replace(profile, secret=SECRET) if seat == other else profile
        for seat, profile in enumerate(scenario.profiles)
    )
    return replace(
        scenario,
        goals=changed(scenario.goals),
        briefs=changed(scenario.briefs),
        profiles=profiles,
        task=draw(scenario.family, "train", 0).task,
    )


@both_styles
@given(scenario=scenes, seat=st.sampled_from((0, 1)))
def test_the_others_mind_changes_no_prompt(style: str, scenario: Scenario, seat: int) -> None:
    turns = [Turn(0, 1 - seat, Action(ActionType.SPEAK, "hello"))]
    shown = prompt(style, scenario, seat, turns)
    assert prompt(style, with_other_mind(scenario, 1 - seat), seat, turns) == shown
    own = prompt(style, with_other_mind(scenario, seat), seat, turns)
    assert SECRET in own  # one's own mind does


@both_styles
@given(scenario=scenes, seat=st.sampled_from((0, 1)))
def test_a_seat_is_told_its_own_side(style: str, scenario: Scenario, seat: int) -> None:
    shown = prompt(style, scenario, seat)
    own = scenario.briefs if style == "brief" else scenario.goals
    assert own[seat] in shown
    assert own[1 - seat] not in shown


@given(scenario=scenes, seat=st.sampled_from((0, 1)))
def test_the_other_is_described_as_far_as_it_is_known(scenario: Scenario, seat: int) -> None:
    other = replace(
        scenario.profiles[1 - seat],
        public_info="paints boats",
        big_five="rather open-ish",
        secret=SECRET,
    )
    profiles = tuple(other if s != seat else p for s, p in enumerate(scenario.profiles))
    shown = prompt("full", replace(scenario, profiles=profiles), seat)
    known = scenario.relationship
    assert (other.name in shown) == (known >= Relationship.KNOW_BY_NAME)
    assert (other.public_info in shown) == (known >= Relationship.ACQUAINTANCE)
    assert (other.big_five in shown) == (known >= Relationship.FRIEND)
    assert ("a stranger, of whom you know nothing." in shown) == (known == Relationship.STRANGER)
    assert SECRET not in shown


@both_styles
@given(reason=st.text(min_size=1, alphabet="QXZ", max_size=9))
def test_an_invalid_turn_is_shown_as_doing_nothing(style: str, reason: str) -> None:
    view = view_of(draw("price", "test", 0), 0)
    shown_turns = STYLES[style].new_turns
    faulty = Turn(0, 1, Action(ActionType.NONE, "", invalid=f"got {reason!r}, expected say."))
    idle = Turn(0, 1, Action(ActionType.NONE))
    assert shown_turns(view, [faulty]) == shown_turns(view, [idle])
    assert shown_turns(view, [faulty]) == {"brief": "none", "full": "The other did nothing"}[style]


TURNS = [
    Turn(0, 1, Action(ActionType.SPEAK, "Hello {}!")),
    Turn(1, 1, Action(ActionType.NON_VERBAL, "smiles")),
    Turn(2, 1, Action(ActionType.ACT, "offer price=7")),
    Turn(3, 1, Action(ActionType.LEAVE)),
]


@pytest.mark.parametrize(
    ("style", "shown"),
    [
        ("brief", "say Hello {}! gesture smiles do offer price=7 leave"),
        (
            "full",
            "The other said: Hello {}!\nThe other [smiles]\nThe other acted: offer price=7\n"
            "The other left",
        ),
    ],
)
def test_what_was_heard(style: str, shown: str) -> None:
    assert STYLES[style].new_turns(view_of(draw("price", "test", 0), 0), TURNS) == shown


def test_who_begins_hears_nothing_or_is_told_to_begin() -> None:
    view = view_of(draw("price", "test", 0), 0)
    assert STYLES["brief"].new_turns(view, []) == ""
    assert STYLES["full"].new_turns(view, []) == "Begin."


def test_the_full_style_word_for_word() -> None:
    scene = replace(
        draw("price", "test", 0),
        context="A market.",
        goals=("Buy it.", "Sell it."),
        profiles=(Profile("Ana", age=31, occupation="baker", secret="sings."), Profile("Ben")),
        relationship=Relationship.FRIEND,
        task=None,
    )
    rules = (
        "Play a person in a social situation with somebody else. Stay in character and reach your "
        "goal.\n\n"
        'Answer each turn with one JSON object: {"action_type": "speak", "argument": "what you '
        'say"}. Other types are "non-verbal communication" and "action", whose argument describes '
        'it, "leave", which ends the conversation, and "none".\n\n'
    )
    goal = "Your goal, which the other does not know: Buy it."
    assert STYLES["full"].system(view_of(scene, 0)) == (
        f"{rules}Situation: A market.\n"
        "You: Ana; 31 years old; baker. Your secret: sings.\n"
        f"The other: Ben.\n{goal}"
    )
    names = style_of("full", profiles="names")
    assert names.system(view_of(scene, 0)) == f"{rules}Situation: A market.\nYou: Ana.\n{goal}"


def test_the_full_style_tells_how_deals_are_made_where_there_are_any() -> None:
    scene = draw("price", "test", 0)
    talk = STYLES["full"].system(view_of(replace(scene, task=None), 0))
    rules, situation = talk.split("\n\nSituation: ")
    assert STYLES["full"].system(view_of(scene, 0)) == (
        f'{rules}\nTo act, add it: {{"action_type": "speak", "argument": "That is fair.", "act": '
        '"accept"}. An act has the very words that the situation names, with numbers or names in '
        "place of <...>. Only acts make, accept or turn down an offer; words bind nobody. A new "
        "offer replaces the one before it. Accepting ends the conversation.\n\n"
        f"Situation: {situation}"
    )


def test_prompts_of_all_scenes_that_a_program_scores_begin_alike() -> None:
    prompts = [
        STYLES["full"].system(view_of(draw(family, "test", 0), seat))
        for family in ("division", "price")
        for seat in (0, 1)
    ]
    assert len({prompt.split("Situation: ")[0] for prompt in prompts}) == 1
    assert "Accepting ends the conversation." in prompts[0].split("Situation: ")[0]


def test_speaking_is_the_first_choice_and_acts_are_asked_for_where_there_are_any() -> None:
    view = view_of(draw("price", "test", 0), 0)
    schema = STYLES["full"].schema(view)
    assert schema is not None
    assert schema["properties"]["action_type"]["enum"][0] == "speak"
    assert set(schema["properties"]["action_type"]["enum"]) == set(ActionType)
    assert schema["required"] == ["action_type", "argument", "act"]
    open_scene = STYLES["full"].schema(replace(view, verifiable=False))
    assert open_scene is not None
    assert open_scene["required"] == ["action_type", "argument"]
    assert STYLES["brief"].schema(view) is None


def test_only_the_full_style_says_why_a_turn_was_not_carried_out() -> None:
    refused = Action(ActionType.NONE, invalid="got {}.")
    hinted = Action(ActionType.SPEAK, "Yes!", near_miss="you said yes; act accept.")
    notice = STYLES["full"].notice
    assert notice(refused) == "(Your last answer was not carried out: got {}.)\n"
    assert notice(hinted) == "(Mind that you said yes; act accept.)\n"
    assert notice(Action(ActionType.SPEAK, "Yes!")) == ""
    assert STYLES["brief"].notice(refused) == STYLES["brief"].notice(hinted) == ""


def test_words_and_an_act_are_heard_together() -> None:
    view = view_of(draw("price", "test", 0), 0)
    both = Turn(0, 1, Action(ActionType.ACT, "offer price=7", words="Seven?"))
    shown = STYLES["full"].new_turns(view, [both])
    assert shown == "The other said: Seven? / acted: offer price=7"


def test_prose_is_speech_unless_the_style_is_strict() -> None:
    prose = "Twelve would be fine."
    assert STYLES["full"].codec.decode(prose) == Action(ActionType.SPEAK, prose)
    strict = style_of("full", prose_is_speech=False)
    assert strict.codec.decode(prose).invalid is not None
    assert style_of("brief").codec.decode(prose).invalid is not None


def test_a_style_reads_what_it_asks_for() -> None:
    assert STYLES["brief"].codec.decode("do accept") == Action(ActionType.ACT, "accept")
    answer = '{"action_type": "action", "argument": "accept"}'
    assert STYLES["full"].codec.decode(answer) == Action(ActionType.ACT, "accept")


def test_without_a_brief_the_brief_style_says_what_to_do() -> None:
    scene = replace(draw("price", "test", 0), briefs=("", ""))
    with pytest.raises(ConfigError, match=r"no brief in the line language.*prompt_style=full"):
        STYLES["brief"].system(view_of(scene, 0))


@pytest.mark.parametrize(
    ("style", "shown"),
    [("brief", "leave left=4"), ("full", "The other left\n(Turns left: 4)")],
)
def test_a_message_ends_with_the_turns_left(style: str, shown: str) -> None:
    view = view_of(draw("price", "test", 0), 0)
    assert STYLES[style].message(view, TURNS[3:], 4) == shown


def test_who_hears_nothing_in_brief_gets_no_message() -> None:
    assert STYLES["brief"].message(view_of(draw("price", "test", 0), 0), [], 12) == ""
