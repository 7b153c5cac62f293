"""The table: offers replace, accept closes the other's, reject clears the other's."""

from __future__ import annotations

import pytest

from envs.bargaining import EMPTY_TABLE, Table, apply_act, near_miss
from envs.errors import ActionError
from envs.types import Scenario


def played(scenario: Scenario, *acts: tuple[int, str]) -> Table:
    table = EMPTY_TABLE
    assert scenario.task is not None
    for seat, text in acts:
        table = apply_act(table, scenario.task, seat, text)
    return table


def test_an_offer_stands_in_the_words_of_its_seat(pears: Scenario) -> None:
    # Seat 1 wants 2 pears, so seat 0 gets none.
    assert played(pears, (1, "offer 2 for me")) == Table(standing=(0,), offered_by=1)


def test_a_new_offer_replaces_the_old_whoever_made_it(pears: Scenario) -> None:
    table = played(pears, (0, "offer 2 for me"), (1, "offer 1 for me"))
    assert table == Table(standing=(1,), offered_by=1)
    assert played(pears, (0, "offer 2 for me"), (0, "offer 1 for me")) == Table((1,), 0)


@pytest.mark.parametrize("accept", ["accept", "Accept", "  ACCEPT \n", "accept."])
def test_accept_closes_the_others_offer(pears: Scenario, accept: str) -> None:
    assert played(pears, (0, "offer 2 for me"), (1, accept)) == Table(closed=(2,))


def test_reject_clears_the_others_offer(pears: Scenario) -> None:
    assert played(pears, (0, "OFFER   2 for me"), (1, "reject")) == EMPTY_TABLE


@pytest.mark.parametrize("answer", ["accept", "reject"])
def test_an_answer_needs_an_offer_of_the_other_side(pears: Scenario, answer: str) -> None:
    with pytest.raises(ActionError, match="no offer stands"):
        played(pears, (0, answer))
    with pytest.raises(ActionError, match="one's own offer"):
        played(pears, (0, "offer 1 for me"), (0, answer))
    with pytest.raises(ActionError, match="expected the word alone"):
        played(pears, (0, "offer 1 for me"), (1, f"{answer} if you pay"))


def test_terms_that_cannot_be_read_are_refused(pears: Scenario) -> None:
    with pytest.raises(ActionError, match="expected '<0, 1 or 2> for me'"):
        played(pears, (0, "offer three"))


@pytest.mark.parametrize("text", ["", "hands over a pen", "offers 1 for me", "acceptable"])
def test_a_free_act_leaves_the_table_as_it_is(pears: Scenario, text: str) -> None:
    table = Table(standing=(1,), offered_by=0)
    assert pears.task is not None
    assert apply_act(table, pears.task, 1, text) is table


# A yes without the act


STANDING = Table(standing=(7,), offered_by=1)


@pytest.mark.parametrize(
    "words",
    [
        "I accept.",
        "Okay, I'll take it!",
        "That works for me. See you tomorrow.",
        "Deal!",
        "Hm. Sounds fair.",
        "It\u2019s a deal.",
    ],
)
def test_a_yes_in_words_is_a_near_miss(words: str) -> None:
    hint = near_miss(STANDING, 0, words)
    assert hint is not None
    assert "act accept" in hint
    assert near_miss(STANDING, 1, words) is None  # its own offer
    assert near_miss(EMPTY_TABLE, 0, words) is None  # nothing to say yes to


@pytest.mark.parametrize(
    "words",
    [
        "I can't accept that.",
        "I will take it if you add the lock.",
        "Do you accept?",
        "I accept that prices rise, but not this one.",
        "What a poor deal.",
        "Hello there.",
        "",
    ],
)
def test_a_no_an_if_and_a_question_are_none(words: str) -> None:
    assert near_miss(STANDING, 0, words) is None
