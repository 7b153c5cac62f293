"""Whatever a model or a person writes, it is a well-formed action, or the reason why it is none."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agents.human import read_typed
from agents.prompts import style_of
from envs.actions import MAX_ACTION_CHARS, Codec, split_note
from envs.bargaining import EMPTY_TABLE, Table, apply_act, near_miss, read_act
from envs.errors import ActionError
from envs.scenarios import draw
from envs.scenarios.dollars import from_targets
from envs.scenarios.families.item_split import with_nash_aims
from envs.scenarios.family import FAMILIES
from envs.scenarios.friends import FriendsTask
from envs.scenarios.task import Task
from envs.social import SocialState
from envs.types import Action, ActionType, Observation
from tests.outside_data import (
    check_sentence,
    dumped,
    fuzz,
    in_no_time,
    json_values,
    long_texts,
    mutated,
    texts,
    torn,
)

CODECS: dict[str, Codec] = {
    "line": style_of("brief").codec,
    "json": style_of("full", prose_is_speech=False).codec,
    "prose": style_of("full").codec,
}
codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=list(CODECS))

TASKS: dict[str, Task] = {
    name: task for name in FAMILIES if (task := draw(name, "train", 0).task) is not None
} | {
    "dollars": from_targets(1_500_00, (900_00, 1_200_00)),
    "friends": FriendsTask((10.0, 10.0), (("Ana", "Bo"), ("Bo", "Zo\u00eb")), ("Bo",)),
    "split": with_nash_aims(("book", "hat"), (2, 1), ((1, 2), (2, 1))),
}
tasks = pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))

SAID = {"action_type": "speak", "argument": "Twelve is fair.", "act": "offer price=12"}
SCENE = draw("price", "train", 0)


def check_action(action: Action, codec: Codec) -> None:
    """Valid: it is written and read back as the same; else it does nothing and says why."""
    if action.invalid is not None:
        assert action == Action(ActionType.NONE, "", invalid=action.invalid)
        check_sentence(action.invalid, most=300)
        return
    assert bool(action.argument) == (action.type not in (ActionType.NONE, ActionType.LEAVE))
    assert len(action.text) <= MAX_ACTION_CHARS + 1
    for text in (action.argument, action.words):
        assert text == " ".join(text.split())
        text.encode()  # no surrogates
    if len(written := codec.encode(action)) <= MAX_ACTION_CHARS:
        assert codec.decode(written) == action


reply_texts = st.one_of(
    texts,
    mutated(SAID).map(dumped),
    mutated(SAID).map(lambda said: f"Well: ```json\n{dumped(said)}\n``` So."),
    torn(dumped(SAID).encode()).map(lambda content: content.decode("utf-8", "surrogateescape")),
    json_values.map(dumped),
    st.builds("{} {}".format, st.sampled_from(["say", "do", "DO offer", "leave", "none"]), texts),
)


@codecs
@fuzz()
@given(text=reply_texts, note=st.sampled_from(["", "<think>12-8=4</think>", "<think>", "</think>"]))
def test_any_reply_is_an_action_or_says_what_is_wrong(codec: Codec, text: str, note: str) -> None:
    check_action(codec.decode(note + text), codec)
    assert split_note(note + text).action_text == split_note(note + text).action_text.strip()


LONG = long_texts(
    *("a", " ", "\n", "{", "a{", "}", '"', "\\", "```", "``` ", "[", "<think>", "</think>", "<"),
    *("say ", "do ", "1,000", "9", "=", "a=", "you ", "I agree. ", "'", ".", "\u0130", "(", "a@"),
)
HEADS = ("", "```json", "Well {", '{"action_type": "speak", "argument": "', "say ", "<think>")


@codecs
@pytest.mark.parametrize("length", [MAX_ACTION_CHARS - 50, 10 * MAX_ACTION_CHARS])
def test_no_reply_takes_long(codec: Codec, length: int) -> None:
    for text in LONG:
        for head in HEADS:
            with in_no_time(0.2):
                check_action(codec.decode(head + text[:length]), codec)


@tasks
@fuzz()
@given(data=st.data())
def test_any_terms_are_a_deal_or_say_how_to_write_one(task: Task, data: st.DataObject) -> None:
    terms = task.terms(0, data.draw(st.sampled_from(task.deals()[:50])))
    text = data.draw(texts | torn(terms.encode()).map(lambda t: t.decode("utf-8", "replace")))
    for seat in (0, 1):
        try:
            deal = task.parse_terms(seat, text)
        except ActionError as error:
            check_sentence(error)
        else:
            assert deal in task.deals()
            assert task.parse_terms(seat, task.terms(seat, deal)) == deal


@tasks
def test_no_offer_and_no_speech_takes_long(task: Task) -> None:
    for text in [*LONG, *long_texts("1,000,000,", "000,", "book=1 ", "a:", "ana@", "1.")]:
        for head in ("", "you ", "me ", "price=", "$", "1"):
            said = head + text[:MAX_ACTION_CHARS]
            with in_no_time(0.2):
                task.leaks(0, said)
                near_miss(Table(task.deals()[0], offered_by=1), 0, said)
                try:
                    assert task.parse_terms(0, said) in task.deals()
                except ActionError as error:
                    check_sentence(error)


keywords = st.sampled_from(["offer", "Accept!", "reject."])


@example("offer 1" + ",000" * 2000)
@fuzz()
@given(text=texts | st.builds("{} {}".format, keywords, texts))
def test_any_act_leaves_a_table_or_says_why_not(text: str) -> None:
    act = read_act(text)
    assert act.keyword == act.keyword.strip()
    assert act.rest == act.rest.strip()
    for task in TASKS.values():
        try:
            table = apply_act(EMPTY_TABLE, task, 0, text)
        except ActionError as error:
            check_sentence(error)
        else:
            assert table == EMPTY_TABLE or table.standing in task.deals()


def observation() -> Observation:
    state = SocialState(SCENE)
    state.step({0: Action(ActionType.ACT, "offer price=12")})
    return state.observe(1)


commands = st.sampled_from(["/offer", "/accept", "/reject", "/do", "/none", "/x", "/leave"])
typed_texts = st.one_of(
    texts,
    st.builds("{}{}".format, commands, texts),
    st.builds("{} {} {}".format, texts, commands, texts),
)


@example("/" + "x" * 5000)
@example("/offer\n price=12")
@fuzz()
@given(typed=typed_texts.map(str.strip))
def test_anything_can_be_typed(typed: str) -> None:
    for task in (None, SCENE.task):
        check_action(read_typed(typed, observation(), task), CODECS["json"])


def test_nothing_that_is_typed_takes_long() -> None:
    for text in [*LONG, *long_texts("/offer ", "a /offer 1 ", " /accept")]:
        for head in ("", "/", "/offer ", "a"):
            with in_no_time(0.5):
                action = read_typed((head + text).strip(), observation(), SCENE.task)
            check_action(action, CODECS["json"])
