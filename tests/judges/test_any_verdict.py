"""Whatever a judge, a critic or a writer of scenes replies, it is read or refused in a sentence."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given

from envs.errors import UnscoredError
from envs.types import Episode
from judges.base import DIMENSION_RANGES
from judges.choice import read_choice
from judges.critics.base import DropKind, Dropped, Located, Selected
from judges.critics.llm import LlmCritic
from judges.verdict import MAX_REASON_CHARS, read_object, read_verdict
from tests.chats import FakeChat
from tests.judges.test_verdict import CHARACTERS, N_TURNS, NAMES, fields
from tests.outside_data import check_sentence, dumped, fuzz, in_no_time, long_texts, mutated, torn

VERDICT = dumped(fields())
CHOICE = {"reason": "It was rude.", "turn": 2}
TURNS = (0, 2, 4, None)
MOST = 300
"""Characters of a refusal, which goes back to the model."""


def check_verdict(text: str) -> None:
    """Valid: all scores are finite and in their ranges, all reasons short and without controls."""
    try:
        with in_no_time(1.0):
            verdict = read_verdict(text, NAMES, CHARACTERS, N_TURNS)
    except UnscoredError as error:
        check_sentence(error, most=MOST)
        return
    for scores, reason in zip(verdict.scores, verdict.reasons, strict=True):
        for name, (low, high) in DIMENSION_RANGES.items():
            assert math.isfinite(getattr(scores, name))
            assert low <= getattr(scores, name) <= high
        assert len(reason) <= MAX_REASON_CHARS + 40
        reason.encode()


@example(fields() | {"agent_A": fields()["agent_A"] | {"goal": int("9" * 4000)}})
@example(fields() | {"agent_A": fields()["agent_A"] | {"turns": [int("9" * 4000)]}})
@fuzz(120)
@given(said=mutated(fields()))
def test_any_verdict_is_in_order_or_refused(said: Any) -> None:
    check_verdict(dumped(said))
    check_verdict(f"<think>Hm.</think>So:\n```json\n{dumped(said)}\n```")


@pytest.mark.parametrize("depth", [*range(100, 1100, 40), 5_000, 100_000])
def test_a_verdict_of_any_depth_is_refused(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    check_verdict(VERDICT.replace('"Ann"', deep))
    check_verdict(f'{{"agent_A": {deep}, "agent_B": {deep}}}')
    check_choice(f'{{"reason": "x", "turn": {deep}}}')


@fuzz(80)
@given(content=torn(VERDICT.encode(), most=5))
def test_any_torn_verdict_is_in_order_or_refused(content: bytes) -> None:
    check_verdict(content.decode("utf-8", "surrogateescape"))


def check_choice(text: str) -> None:
    try:
        with in_no_time(1.0):
            choice = read_choice(text, "turn", TURNS, NAMES)
    except UnscoredError as error:
        check_sentence(error, most=MOST)
    else:
        assert choice.value in TURNS
        assert type(choice.value) in (int, type(None))
        assert len(choice.reason) <= MAX_REASON_CHARS
        assert choice.reason == " ".join(choice.reason.split())


@fuzz(120)
@given(said=mutated(CHOICE))
def test_any_choice_is_one_of_those_or_refused(said: Any) -> None:
    check_choice(dumped(said))


LONG = long_texts(
    *(
        "{",
        "}",
        '"',
        "\\",
        '\\"',
        ",",
        ", ",
        "{,",
        '{"a":',
        "[",
        "<think>",
        "</think>",
        " ",
        "-",
        "9",
    ),
    *('"a": 1,', "{}", "e", "1e", "\\u", "\ud800", "\0"),
)


def test_no_reply_takes_long() -> None:
    for text in LONG:
        for whole in (text, "{" + text, '{"reason": "' + text, VERDICT[:-1] + text, VERDICT + text):
            check_verdict(whole)
            check_choice(whole)


@fuzz(60)
@given(said=mutated(CHOICE))
def test_any_reply_to_a_critic_is_a_place_or_dropped(
    play: Callable[..., Episode], said: Any
) -> None:
    episode = play("say a", "say b", "say c", "say d", "say e", "leave")
    critic = LlmCritic(FakeChat(lambda request: dumped(said)), max_asks=2)

    async def no_value(turn: int) -> float:
        raise AssertionError("this critic measures nothing")

    located = asyncio.run(critic.locate(episode, 0, no_value))
    selected = asyncio.run(critic.select(episode, episode, 0, 0))
    for found in (located, selected):
        match found:
            case Located(turn=turn):
                assert turn in (0, 2, 4)
            case Selected(own_turns=own_turns):
                assert 1 <= own_turns <= 3
            case Dropped(kind=kind, reason=reason):
                assert kind in (DropKind.NO_ERROR, DropKind.INVALID_REPLY)
                check_sentence(reason, most=MAX_REASON_CHARS + MOST)
            case _:
                raise AssertionError(found)


@fuzz(60)
@given(said=mutated({"a": [1, {"b": None}], "c": "x"}))
def test_any_object_is_read_or_refused(said: Any) -> None:
    try:
        assert isinstance(read_object(dumped(said)), dict)
    except UnscoredError as error:
        check_sentence(error, most=MOST)
