"""Tasks give experts true sentences, and guess at the other's wishes from words and offers."""

from __future__ import annotations

from random import Random

import pytest

from envs.scenarios import FAMILIES
from envs.scenarios.families.item_split import SplitTask
from envs.scenarios.families.match import PEOPLE, MatchTask
from envs.scenarios.families.plans import PlansTask
from envs.scenarios.families.price import PriceTask
from envs.scenarios.task import Task
from envs.types import Action, ActionType, Deal, Turn
from tests.agents.dialogues import scenarios, turns_of

SPLIT = SplitTask(aims=(6.0, 6.0), items=("book", "hat"), pool=(2, 1), values=((4, 2), (1, 8)))
PLANS = PlansTask(aims=(5.0, 5.0), options=("cafe", "park", "zoo"), tastes=((9, 5, 1), (0, 5, 9)))
PRICE = PriceTask(aims=(5.0, 5.0), limits=(15, 5))
MATCH = MatchTask(
    aims=(10.0, 10.0),
    known=(
        ("ana@bank", "bob@farm", "dan@gym", "eve@mill"),
        ("bob@farm", "cleo@port", "finn@shop", "finn@farm"),
    ),
    secrets=("dan@gym", "finn@shop"),
)


def person(name: str) -> tuple[int]:
    return (PEOPLE.index(name),)


@pytest.mark.parametrize(
    ("task", "seat", "sentences"),
    [
        (SPLIT, 0, {"i want book", "i need no hat"}),
        (SPLIT, 1, {"i want hat", "i need no book"}),
        (PLANS, 0, {"i like cafe", "i like no zoo"}),
        (PLANS, 1, {"i like zoo", "i like no cafe"}),
        (PRICE, 0, {"that is too much"}),
        (PRICE, 1, {"that is too little"}),
        (MATCH, 0, {f"i know somebody at {place}" for place in ("bank", "farm", "mill")}),
        (MATCH, 1, {f"i know somebody at {place}" for place in ("farm", "port")}),
    ],
)
def test_what_is_said_is_true(task: Task, seat: int, sentences: set[str]) -> None:
    assert {task.statement(seat, Random(seed)) for seed in range(100)} == sentences


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_that_is_said_gives_a_secret_away(family: str) -> None:
    for seed, scenario in enumerate(scenarios(family, 50)):
        for seat in (0, 1):
            assert scenario.task is not None
            words = scenario.task.statement(seat, Random(seed))
            assert words
            assert not scenario.task.leaks(seat, words)


def test_offers_are_those_of_one_seat_that_can_be_read() -> None:
    turns = (
        *turns_of((0, "offer price=4"), (1, "offer price=9"), (0, "offer price=99"), (1, "accept")),
        Turn(4, 0, Action(ActionType.SPEAK, "offer price=5")),  # words are no act
        Turn(5, 0, Action(ActionType.ACT, "Offer: 6")),
    )
    assert list(PRICE.offers(0, turns)) == [(4,), (6,)]
    assert list(PRICE.offers(1, turns)) == [(9,)]


def test_only_whom_one_knows_and_the_careful_keep_the_secret() -> None:
    known = [person(name) for name in MATCH.known[0]]
    assert MATCH.offerable_deals(0, careful=False) == known
    assert MATCH.offerable_deals(0) == [deal for deal in known if deal != person("dan@gym")]
    careless = PRICE.offerable_deals(0, careful=False)
    assert PRICE.offerable_deals(0) == careless == list(PRICE.deals())


# Deals are what seat 0 gets of (2 books, 1 hat); `estimated_interest(0, ...)` guesses at seat 1.
def test_without_a_word_all_items_weigh_the_same() -> None:
    liked = SPLIT.estimated_interest(0, ())
    assert [liked(deal) for deal in ((0, 0), (1, 0), (2, 0), (2, 1))] == [6.0, 4.0, 2.0, 0.0]


def test_a_wish_weighs_and_a_refusal_takes_away() -> None:
    wished = SPLIT.estimated_interest(0, turns_of((1, "say i want hat")))
    assert wished((2, 0)) == 2.0 + 2.0  # one hat
    refused = SPLIT.estimated_interest(0, turns_of((1, "say I need no HAT")))
    assert refused((2, 0)) == 2.0 - 1.5
    own_words = SPLIT.estimated_interest(0, turns_of((0, "say i want hat")))
    assert own_words((2, 0)) == 2.0


def test_what_is_kept_in_offers_weighs() -> None:
    # Seat 1 offers one book and keeps one of two books (.5 of the pool) and the hat (all of it).
    liked = SPLIT.estimated_interest(0, turns_of((1, "offer you book=1 hat=0")))
    assert liked((2, 0)) == 2.0 + 1.5 * 0.5
    assert liked((1, 1)) == 2.0


def test_an_item_that_there_is_none_of_weighs_as_before() -> None:
    task = SplitTask((6.0, 6.0), ("book", "hat"), (2, 0), ((4, 2), (1, 8)))
    liked = task.estimated_interest(0, turns_of((1, "offer you book=0 hat=0")))
    assert liked((0, 0)) == 2 * (2.0 + 1.5 * 0.5)


def test_weights_do_not_fall_below_nothing() -> None:
    liked = SPLIT.estimated_interest(0, turns_of(*[(1, "say i need no hat")] * 3))
    assert liked((2, 0)) == 0.0


def test_plans_are_liked_when_named_or_offered_and_not_when_turned_down() -> None:
    turns = turns_of(
        (0, "offer cafe"), (1, "say i like no cafe"), (0, "offer park"), (1, "offer zoo")
    )
    liked = PLANS.estimated_interest(0, turns)
    assert [liked((option,)) for option in (0, 1, 2)] == [-3.0 - 2.0, -2.0, 2.0]
    assert PLANS.estimated_interest(1, turns)((1,)) == 2.0 - 0.0  # seat 0 offered it


def test_sellers_like_high_prices_and_buyers_low_ones() -> None:
    assert PRICE.estimated_interest(0, ())((9,)) > PRICE.estimated_interest(0, ())((8,))
    assert PRICE.estimated_interest(1, ())((8,)) > PRICE.estimated_interest(1, ())((9,))


def test_a_place_that_was_named_is_tried_once() -> None:
    said = turns_of((1, "say i know somebody at farm"))
    liked = MATCH.estimated_interest(0, said)
    assert liked(person("bob@farm")) == 1.0
    assert liked(person("ana@bank")) == 0.0
    tried = MATCH.estimated_interest(0, (*said, *turns_of((0, "offer bob@farm"))))
    assert tried(person("bob@farm")) == 1.0 - 5.0


class CoinTask(Task):
    """A kind that says nothing about talk."""

    def deals(self) -> tuple[Deal, ...]:
        return ((0,), (1,))

    def utility(self, seat: int, deal: Deal) -> float:
        return float(deal[0] == seat)

    def terms(self, seat: int, deal: Deal) -> str:
        return str(deal[0])

    def parse_terms(self, seat: int, text: str) -> Deal:
        return (int(text),)

    def appraise(self, seat: int, deal: Deal) -> tuple[int, ...]:
        return (int(self.utility(seat, deal)),)


def test_a_new_kind_of_task_needs_nothing_here() -> None:
    task = CoinTask(aims=(1.0, 1.0))
    assert task.offerable_deals(0) == [(0,), (1,)]
    assert task.statement(0, Random(0)) is None
    assert task.estimated_interest(0, turns_of((1, "offer 1")))((1,)) == 0.0
    assert task.estimated_interest(0, turns_of((1, "offer 1")))((0,)) == -1.0
    assert task.estimated_interest(0, turns_of((0, "offer 1")))((0,)) == 0.0  # my own offer
    both = task.estimated_interest(0, turns_of((1, "offer 1"), (1, "offer 0")))
    assert both((0,)) == both((1,)) == 0.0
    assert task.apparent_worth(1, (1,)) == task.utility(1, (1,)) == 1.0
