"""A chat model's seat: what it is asked, what its replies become, and that it can close deals."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.base import Seat
from agents.prompts import STYLES, PromptStyle
from agents.remote import Conversation, RemotePlayer
from engines.chat import ChatRequest, Message, Reply
from envs.actions import CODECS
from envs.errors import BudgetError, RemoteError
from envs.scenarios import FAMILIES, draw
from envs.scenarios.records import EnvironmentRecord
from envs.scenarios.sotopia_tasks import read_verifiable
from envs.social import Order, Rules, SocialState
from envs.types import Action, ActionType, EndReason, Observation, Scenario, Turn
from tests.chats import FakeChat

both_styles = pytest.mark.parametrize("style", ["brief", "full"])
SCENE = replace(draw("price", "test", 0), briefs=("price buy limit=9", "price sell limit=3"))


def said(words: str) -> str:
    return CODECS["json"].encode(Action(ActionType.SPEAK, words))


def did(words: str) -> str:
    return CODECS["json"].encode(Action(ActionType.ACT, words))


def play(
    scenario: Scenario, players: Sequence[RemotePlayer], rules: Rules | None = None
) -> SocialState:
    """Two chat models until the episode ends."""

    async def run() -> SocialState:
        state = SocialState(scenario, rules)
        agents = [
            player.sit(Seat(state.observe(seat).view, scenario.task, seed=seat, persona=0))
            for seat, player in enumerate(players)
        ]
        while state.to_act:
            state.step({s: (await agents[s].act(state.observe(s))).action for s in state.to_act})
        return state

    return asyncio.run(run())


def ask(player: RemotePlayer, observation: Observation, seed: int = 0) -> Action:
    agent = player.sit(Seat(observation.view, None, seed=seed, persona=0))
    return asyncio.run(agent.act(observation)).action


def observed(*lines: str, seat: int, scenario: Scenario = SCENE) -> Observation:
    """What `seat` sees after lines in the line language, by the seats in turn."""
    state = SocialState(scenario)
    for line in lines:
        state.step({state.to_act[0]: CODECS["line"].decode(line)})
    return state.observe(seat)


# What it is asked


def test_brief_messages_by_hand() -> None:
    told = observed("do offer price=2", "say that is too little", "do offer price=4", seat=1)
    assert Conversation(STYLES["brief"], told.view).read(told) == (
        Message("system", "price sell limit=3"),
        Message("user", "do offer price=2 left=12"),
        Message("assistant", "say that is too little"),
        Message("user", "do offer price=4 left=12"),
    )


def test_full_messages_by_hand() -> None:
    told = observed("do offer price=2", "say too little", seat=0)
    messages = Conversation(STYLES["full"], told.view).read(told)
    assert messages[0] == Message("system", STYLES["full"].system(told.view))
    assert messages[1:] == (
        Message("user", "Begin.\n(Turns left: 20)"),
        Message("assistant", '{"action_type": "action", "argument": "offer price=2"}'),
        Message("user", "The other said: too little\n(Turns left: 18)"),
    )


def test_who_begins_in_brief_is_sent_its_brief_alone() -> None:
    told = observed(seat=0)
    messages = Conversation(STYLES["brief"], told.view).read(told)
    assert messages == (Message("system", "price buy limit=9"),)


@both_styles
def test_who_acts_twice_in_a_row_hears_that_the_other_did_nothing(style: str) -> None:
    hello = Action(ActionType.SPEAK, "hello")
    told = replace(observed(seat=0), turns=(Turn(0, 0, hello),), turns_left=5)
    last = Conversation(STYLES[style], told.view).read(told)[-1]
    expected = {"brief": "none left=5", "full": "The other did nothing\n(Turns left: 5)"}
    assert last == Message("user", expected[style])


def test_a_request_says_how_it_is_to_be_answered() -> None:
    chat = FakeChat([said("hello")])
    player = RemotePlayer(chat, STYLES["full"], temperature=None, max_tokens=77, purpose="policy")
    told = observed(seat=0)
    assert ask(player, told, seed=5) == Action(ActionType.SPEAK, "hello")
    [request] = chat.requests
    assert (request.temperature, request.max_tokens, request.purpose) == (None, 77, "policy")
    assert request.schema == STYLES["full"].schema(told.view)
    assert request.schema is not None
    # As agents/policy.py draws a turn's seed from the seat's.
    assert request.seed == Random("5/0").getrandbits(63)


def test_the_line_language_has_no_schema() -> None:
    chat = FakeChat(["say hello"])
    assert ask(RemotePlayer(chat, STYLES["brief"]), observed(seat=0)).argument == "hello"
    assert chat.requests[0].schema is None


def test_a_player_is_called_as_its_model_is() -> None:
    assert RemotePlayer(FakeChat([], id="gpt-4o-2024-08-06"), STYLES["full"]).id == (
        "gpt-4o-2024-08-06"
    )


orders = st.sampled_from(Order)
lines = st.lists(
    st.sampled_from(["say hello", "none", "gesture nods", "do offer price=9", "do accept", "oops"]),
    min_size=12,
    max_size=12,
)


def observations(order: Order, seed: int, lines: Sequence[str]) -> list[tuple[int, Observation]]:
    """(seat, what it saw) whenever somebody was to act."""
    state = SocialState(SCENE, Rules(max_turns=12, max_stale=12, order=order), seed)
    seen = []
    for line in lines:
        seen += [(seat, state.observe(seat)) for seat in state.to_act]
        state.step({seat: CODECS["line"].decode(line) for seat in state.to_act})
        if state.end:
            break
    return seen


@both_styles
@given(order=orders, seed=st.integers(0, 9), lines=lines)
def test_seated_in_the_middle_it_asks_what_it_would_have_asked(
    style: str, order: Order, seed: int, lines: list[str]
) -> None:
    going_on: dict[int, Conversation] = {}
    for seat, told in observations(order, seed, lines):
        talk = going_on.setdefault(seat, Conversation(STYLES[style], told.view))
        assert talk.read(told) == Conversation(STYLES[style], told.view).read(told)


@both_styles
@given(order=orders, seed=st.integers(0, 9), lines=lines)
def test_a_conversation_alternates_and_only_grows(
    style: str, order: Order, seed: int, lines: list[str]
) -> None:
    before: dict[int, tuple[Message, ...]] = {}
    for seat, told in observations(order, seed, lines):
        messages = Conversation(STYLES[style], told.view).read(told)
        roles = [message.role for message in messages]
        assert roles[0] == "system"
        rest = roles[1:]
        if style == "brief" and told.turns[:1] and told.turns[0].seat == seat:
            assert rest.pop(0) == "assistant"
        assert rest == [("user", "assistant")[n % 2] for n in range(len(rest))]
        assert roles[-1] != "assistant"
        # But for simultaneous turns, whose clock stood still, a provider's prefix cache holds.
        if order is not Order.SIMULTANEOUS:
            known = before.get(seat, ())
            assert messages[: len(known)] == known
        before[seat] = messages


@dataclass
class Counting:
    """A codec that counts what it writes."""

    name: str = "line"
    written: int = 0

    def encode(self, action: Action) -> str:
        self.written += 1
        return CODECS["line"].encode(action)

    def decode(self, text: str) -> Action:
        return CODECS["line"].decode(text)


def test_a_turn_costs_what_is_new_in_it() -> None:
    counting = Counting()
    style: PromptStyle = replace(STYLES["brief"], codec=counting)
    chat = FakeChat(lambda request: "say hello")
    play(SCENE, [RemotePlayer(chat, style), RemotePlayer(chat, style)], Rules(max_turns=40))
    assert len(chat.requests) == 40
    # Each of the 20 own turns of a seat once, but for its last, after which it is asked no more.
    assert counting.written == 2 * 19


# What is made of its replies


@pytest.mark.parametrize("bad", ["", '{"action_type": "sing"}', said("x") * 2, "<think> hm"])
def test_a_reply_that_is_no_action_is_asked_again_with_the_fault(bad: str) -> None:
    chat = FakeChat([bad, did("offer price=4")])
    told = observed(seat=0)
    action = ask(RemotePlayer(chat, STYLES["full"]), told)
    assert action == Action(ActionType.ACT, "offer price=4")
    first, second = chat.requests
    fault = CODECS["json"].decode(bad).invalid
    assert second.messages[:-2] == first.messages
    assert second.messages[-2] == Message("assistant", bad or "...")
    assert second.messages[-1] == Message("user", f"That could not be read: {fault} Answer again.")
    assert second.seed != first.seed


@pytest.mark.parametrize("again", [0, 1, 3])
def test_it_is_asked_again_so_often_and_no_more(again: int) -> None:
    chat = FakeChat(lambda request: "{nonsense")
    action = ask(RemotePlayer(chat, STYLES["full"], asks_again=again), observed(seat=0))
    assert action == CODECS["json"].decode("{nonsense")
    assert action.invalid is not None
    assert len(chat.requests) == again + 1
    assert len({request.seed for request in chat.requests}) == again + 1


def test_the_next_turn_shows_what_was_done_and_not_how_often_it_was_asked() -> None:
    replies = FakeChat(["{nonsense", said("hello"), said("bye")])
    other = FakeChat(lambda request: said("well"))
    play(
        SCENE,
        [RemotePlayer(replies, STYLES["full"]), RemotePlayer(other, STYLES["full"])],
        Rules(max_turns=3),
    )
    shown = [message.content for message in replies.requests[2].messages[1:]]
    assert shown == [
        "Begin.\n(Turns left: 3)",
        said("hello"),
        "The other said: well\n(Turns left: 1)",
    ]


def test_private_notes_are_shown_to_nobody_again() -> None:
    noted = FakeChat(["<think> 1 2 </think> do offer price=4", "say hm"])
    other = FakeChat(lambda request: "say no")
    play(
        SCENE,
        [RemotePlayer(noted, STYLES["brief"]), RemotePlayer(other, STYLES["brief"])],
        Rules(max_turns=3),
    )
    asked = str([request.messages for request in (*noted.requests, *other.requests)])
    assert "do offer price=4" in asked
    assert "think" not in asked


def test_who_was_refused_by_the_rules_is_told_why_and_the_other_is_not() -> None:
    told = observed("do accept", "say hello", seat=0)
    last = Conversation(STYLES["full"], told.view).read(told)[-1].content
    assert last == (
        "(Your last answer was not carried out: got 'accept' but no offer stands; make one with "
        "'offer <terms>' or wait for one.)\nThe other said: hello\n(Turns left: 18)"
    )
    later = observed("do accept", "say hello", "say sorry", "say well", seat=0)
    assert "not carried out" not in str(Conversation(STYLES["full"], later.view).read(later)[-1])
    others = observed("do accept", seat=1)
    assert Conversation(STYLES["full"], others.view).read(others)[-1].content == (
        "The other did nothing\n(Turns left: 19)"
    )


@pytest.mark.parametrize("error", [RemoteError("The server is down."), BudgetError("All spent.")])
def test_what_the_chat_raises_comes_out(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        ask(RemotePlayer(FakeChat([error]), STYLES["full"]), observed(seat=0))


# It can close deals in every scene that a program can check


class Reader:
    """Plays by nothing else than the words that it is sent: offers in the form that they tell."""

    def answer(self, request: ChatRequest) -> str:
        told, last = request.messages[0].content, request.messages[-1].content
        assert '"argument": "That is fair.", "act": "accept"}' in told
        if "acted: offer" in last:
            return json.dumps({"action_type": "speak", "argument": "Fine.", "act": "accept"})
        form = re.search(r"act `(offer [^`]+)`", told)
        assert form is not None
        return did(self._filled(form[1], told))

    def _filled(self, form: str, told: str) -> str:
        if "<name>@<place>" in form:
            return form.replace("<name>@<place>", re.findall(r"\w+@\w+", told)[0])
        if "<option>" in form:
            return form.replace("<option>", re.findall(r"([a-z]+) \d+,", told)[0])
        if "<first name>" in form:
            return form.replace("<first name>", re.findall(r"(\w+): Hobby", told)[0])
        if "<dollars>" in form:
            return str(re.findall(r"such as `([^`]+)`", told)[0])
        return form.replace("<n>", "1")


def of_sotopia(source: str, context: str, *goals: str) -> Scenario:
    """A scene as SOTOPIA writes it, with its task and the words that tell how to act in it."""
    record = EnvironmentRecord(
        env_id="e", source=source, scenario=context, agent_goals=goals, relationship=0
    )
    read = read_verifiable(record)
    assert read is not None
    told = tuple(f"{goal} {note}" for goal, note in zip(goals, read.notes, strict=True))
    return replace(SCENE, context=f"{context}\n{read.acts}", goals=told, task=read.task)


VALUES = "a book is worth 5 points, a hat is worth 3 points"
SOTOPIA = [
    of_sotopia("deal-or-no-deal", "They divide 3 books and 2 hats.", VALUES, VALUES),
    of_sotopia(
        "craigslist_bargains",
        "A bicycle is listed at $300.",
        "You are the buyer; your target price is $180.",
        "You are the seller; your target price is $250.",
    ),
    of_sotopia(
        "mutual_friends",
        "They look for a mutual friend.",
        "Your friends:\nAnn: Hobby: Chess\nBob: Hobby: Tennis",
        "Your friends:\nCleo: Hobby: Golf\nAnn: Hobby: Chess",
    ),
]


@pytest.mark.parametrize(
    "scenario",
    [*(draw(family, "test", 0) for family in FAMILIES), *SOTOPIA],
    ids=[*FAMILIES, "sotopia items", "sotopia price", "sotopia friends"],
)
def test_the_full_style_tells_all_that_a_deal_needs(scenario: Scenario) -> None:
    player = RemotePlayer(FakeChat(Reader().answer), STYLES["full"], asks_again=0)
    state = play(scenario, [player, player])
    assert [turn.action.invalid for turn in state.turns] == [None, None]
    assert state.end is EndReason.DEAL


def test_where_only_a_judge_can_score_no_deal_is_spoken_of() -> None:
    told = observed(seat=0, scenario=draw("open", "test", 0))
    assert "offer" not in Conversation(STYLES["full"], told.view).read(told)[0].content


# What is no reply


@dataclass(frozen=True, slots=True)
class Ended:
    """A reply and how it ended; `says` is what the error must say."""

    text: str
    finish: str
    says: str


@pytest.mark.parametrize(
    ("ended", "asks"),
    [
        (Ended("", "length", "was cut at max_tokens before it said a word; raise"), 2),
        (Ended('{"action_type": "spe', "length", "was cut at max_tokens; raise max_tokens"), 2),
        (Ended("<think>Well,", "length", "was cut at max_tokens"), 2),
        (Ended("", "stop", "gave an empty reply"), 2),
        (Ended(" \n", "stop", "gave an empty reply"), 2),
        (Ended("", "content_filter", "by a content filter"), 1),
        (Ended(said("Let us"), "content_filter", "by a content filter"), 1),
        (Ended("I can't help.", "refusal", "refused to answer: I can't help."), 1),
    ],
)
def test_what_is_no_reply_is_not_taken_for_silence(ended: Ended, asks: int) -> None:
    reply = Reply(ended.text, "fake-1", 9, 512, 0.0, finish_reason=ended.finish)
    chat = FakeChat(lambda request: reply)
    with pytest.raises(RemoteError, match=f"fake-1 .*{re.escape(ended.says)}") as caught:
        ask(RemotePlayer(chat, STYLES["full"]), observed(seat=0))
    assert not caught.value.may_pass
    assert len(chat.requests) == asks


def test_a_cut_reply_that_can_be_read_stands() -> None:
    prose = Reply("I would say that", "fake-1", 9, 5, 0.0, finish_reason="length")
    action = ask(RemotePlayer(FakeChat([prose]), STYLES["full"]), observed(seat=0))
    assert action == Action(ActionType.SPEAK, "I would say that")
    cut = replace(prose, text='{"action')
    chat = FakeChat([cut, said("Hello")])
    assert ask(RemotePlayer(chat, STYLES["full"]), observed(seat=0)).argument == "Hello"


def test_nonsense_is_the_players_own_fault() -> None:
    action = ask(RemotePlayer(FakeChat(["[1]"] * 2), STYLES["full"]), observed(seat=0))
    assert action.invalid is not None
