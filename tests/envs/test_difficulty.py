"""Difficulties: the middle one is what it always was, and each is harder than the one before."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise, product
from statistics import mean

import pytest

from envs.contract import check_scenario
from envs.errors import DataError
from envs.referee import deals_reaching_aims
from envs.scenarios import FAMILIES, SPLITS, draw, draw_mixture, scenario_of
from envs.scenarios.difficulty import Difficulty
from envs.scenarios.families.item_split import SplitTask, with_nash_aims
from envs.scenarios.families.match import MatchTask
from envs.scenarios.families.plans import OPTIONS, PlansTask
from envs.scenarios.families.price import PriceTask
from envs.types import Scenario

EASY, MEDIUM, HARD = Difficulty

DRAWN_SINCE_THE_BASE = {
    "division": "0d164b4b17339e24",
    "price": "58a9231bdf38813b",
    "camp": "b6ac5a32ba70a794",
    "match": "73019afa069fe895",
    "plans": "e474faeb7113b60e",
}
"""Of a hundred scenarios a split as the shipped model and the published figures know them."""


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_difficulty_scenarios_are_what_they_always_were(family: str) -> None:
    drawn = [draw(family, split, index) for split in SPLITS for index in range(100)]
    digest = sha256("".join(map(repr, drawn)).encode()).hexdigest()
    assert digest[:16] == DRAWN_SINCE_THE_BASE[family]
    assert draw(family, "dev", 3, MEDIUM) == draw(family, "dev", 3)


@pytest.mark.parametrize("difficulty", [EASY, HARD])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_id_tells_the_difficulty(family: str, difficulty: Difficulty) -> None:
    scenario = draw(family, "dev", 4, difficulty)
    assert scenario.id == f"{family}-{difficulty}/dev/4"
    assert (scenario.family, scenario.split) == (family, "dev")
    assert scenario_of(scenario.id) == draw.__wrapped__(family, "dev", 4, difficulty)
    assert scenario.task != draw(family, "dev", 4).task


@pytest.mark.parametrize("level", ["medium", "harder", "-hard"])
def test_an_id_has_one_spelling(level: str) -> None:
    with pytest.raises(DataError, match="expected easy or hard, or none for medium"):
        scenario_of(f"price-{level}/dev/4")


def test_the_open_family_has_no_difficulties() -> None:
    with pytest.raises(DataError, match="open has no difficulties, but hard was asked for"):
        draw("open", "dev", 0, HARD)
    assert draw("open", "dev", 0, MEDIUM).family == "open"


def test_a_mixture_has_one_difficulty() -> None:
    drawn = draw_mixture({"plans": 1.0, "price": 1.0}, "test", 4, start=2, difficulty=HARD)
    assert [scenario.id for scenario in drawn] == [
        "plans-hard/test/1",
        "price-hard/test/1",
        "plans-hard/test/2",
        "price-hard/test/2",
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_context_is_in_two_splits_whatever_the_difficulty(family: str) -> None:
    split_of_context: dict[object, str] = {}
    for split, difficulty, index in product(SPLITS, Difficulty, range(120)):
        task = draw(family, split, index, difficulty).task
        context = FAMILIES[family].key(task)
        assert split_of_context.setdefault(context, split) == split


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("difficulty", Difficulty)
def test_both_aims_can_be_reached_at_every_difficulty(
    family: str, split: str, difficulty: Difficulty
) -> None:
    for index in range(40):
        task = draw(family, split, index, difficulty).task
        assert task is not None
        assert deals_reaching_aims(task) >= 1


@pytest.mark.parametrize("difficulty", [EASY, HARD])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_words_of_the_scene_fit_its_task(family: str, difficulty: Difficulty) -> None:
    for index in range(5):
        scenario = draw(family, "test", index, difficulty)
        check_scenario(scenario)
        task = scenario.task
        assert task is not None
        for aim, goal, brief in zip(task.aims, scenario.goals, scenario.briefs, strict=True):
            assert f"{aim:.0f}" in goal
            assert brief.endswith(f"aim={aim:.0f}")


# --- what each family means by it ------------------------------------------------------------


def room(scenario: Scenario) -> float:
    """The share of deals that reach both aims; of a match, the chance to name the shared person."""
    task = scenario.task
    assert task is not None
    if isinstance(task, MatchTask):
        return 1 / len(task.known[0])
    return deals_reaching_aims(task) / len(task.deals())


def zone(scenario: Scenario) -> float:
    """The share of prices at which neither side loses."""
    task = scenario.task
    assert isinstance(task, PriceTask)
    fine = [deal for deal in task.deals() if min(task.utility(s, deal) for s in (0, 1)) >= 0]
    return len(fine) / len(task.deals())


@pytest.mark.parametrize(
    ("family", "measure"),
    [("division", room), ("camp", room), ("plans", room), ("match", room), ("price", zone)],
)
def test_there_is_less_room_the_harder_it_is(
    family: str, measure: Callable[[Scenario], float]
) -> None:
    found = [mean(measure(draw(family, "train", i, d)) for i in range(150)) for d in Difficulty]
    for easier, harder in pairwise(found):
        assert easier > harder


def tasks(family: str, difficulty: Difficulty) -> list[object]:
    return [draw(family, "train", index, difficulty).task for index in range(60)]


def test_in_a_hard_split_one_deal_alone_reaches_both_aims() -> None:
    for task in (*tasks("division", HARD), *tasks("camp", HARD)):
        assert isinstance(task, SplitTask)
        assert deals_reaching_aims(task) == 1
        assert 8 <= sum(task.pool) <= 12


def test_an_easy_split_asks_for_part_of_what_the_same_pool_can_give() -> None:
    for task in (*tasks("division", EASY), *tasks("camp", EASY)):
        assert isinstance(task, SplitTask)
        full = with_nash_aims(task.items, task.pool, task.values)
        assert all(asked <= aim for asked, aim in zip(task.aims, full.aims, strict=True))
        assert deals_reaching_aims(task) >= deals_reaching_aims(full)


def test_aims_are_rounded_down() -> None:
    # Each side gets the one item that it wants; three quarters of 4 are 3, seven tenths are 2.8.
    pool, values = (1, 1, 1), ((4, 0, 0), (0, 4, 0))
    assert with_nash_aims(("a", "b", "c"), pool, values).aims == (4.0, 4.0)
    assert with_nash_aims(("a", "b", "c"), pool, values, 0.75).aims == (3.0, 3.0)
    assert with_nash_aims(("a", "b", "c"), pool, values, 0.7).aims == (2.0, 2.0)


def test_in_a_hard_camp_both_need_the_same_most() -> None:
    for task in tasks("camp", HARD):
        assert isinstance(task, SplitTask)
        first, second = task.values
        assert first.index(max(first)) == second.index(max(second))


def test_prices_leave_slack_when_easy_and_none_when_hard() -> None:
    for task in tasks("price", EASY):
        assert isinstance(task, PriceTask)
        gap = task.limits[0] - task.limits[1]
        # Six tenths of 10-16 are asked for, so that 5 to 7 prices reach both aims.
        assert 10 <= gap <= 16
        assert sum(task.aims) == round(0.6 * gap)
        assert deals_reaching_aims(task) == gap - sum(task.aims) + 1
    for task in tasks("price", HARD):
        assert isinstance(task, PriceTask)
        assert 3 <= task.limits[0] - task.limits[1] <= 6
        assert deals_reaching_aims(task) == 1


def test_plans_are_a_choice_when_easy_and_a_compromise_when_hard() -> None:
    for task in tasks("plans", EASY):
        assert isinstance(task, PlansTask)
        assert deals_reaching_aims(task) >= 2
    for task in tasks("plans", HARD):
        assert isinstance(task, PlansTask)
        (best,) = (option for option in range(len(OPTIONS)) if reaches(task, option))
        for own, other in (task.tastes, task.tastes[::-1]):
            wish = own.index(max(own))
            assert wish != best
            assert own[wish] > own[best]
            assert 2 * other[wish] < other[best]


def reaches(task: PlansTask, option: int) -> bool:
    return all(task.tastes[seat][option] >= task.aims[seat] for seat in (0, 1))


@pytest.mark.parametrize(("difficulty", "known"), [(EASY, 3), (MEDIUM, 4), (HARD, 8)])
def test_the_more_people_one_knows_the_harder_is_the_match(
    difficulty: Difficulty, known: int
) -> None:
    for task in tasks("match", difficulty):
        assert isinstance(task, MatchTask)
        assert [len(people) for people in task.known] == [known, known]
        assert len(set(task.known[0]) & set(task.known[1])) == 1
