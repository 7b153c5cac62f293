"""The shipped contract test: every family passes it, and it finds what it should find."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count

import pytest

from envs.contract import check_family, check_privacy, check_scenario, check_task
from envs.scenarios import FAMILIES, SPLITS, draw
from envs.scenarios.difficulty import Difficulty
from envs.scenarios.task import Task
from envs.types import Deal, Relationship, Scenario

drawn_anew = draw.__wrapped__


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_keeps_the_contract(family: str, split: str) -> None:
    check_family(lambda index: drawn_anew(family, split, index))


@pytest.mark.parametrize("difficulty", [Difficulty.EASY, Difficulty.HARD])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_difficulty_keeps_the_contract(family: str, difficulty: Difficulty) -> None:
    check_family(lambda index: drawn_anew(family, "train", index, difficulty))


def test_the_hand_made_scenarios_keep_it(pears: Scenario, chat: Scenario, trio: Scenario) -> None:
    for scenario in (pears, chat, trio):
        check_family(lambda index, scenario=scenario: scenario, count=1)


@dataclass(frozen=True, slots=True)
class Broken(Task):
    """Passes but for what its fields break."""

    worth: float = 1.0
    appraised: int = 1
    word: str = "{}"
    numbers: tuple[int, ...] = (0, 1)

    def deals(self) -> tuple[Deal, ...]:
        return tuple((number,) for number in self.numbers)

    def utility(self, seat: int, deal: Deal) -> float:
        return self.worth

    def terms(self, seat: int, deal: Deal) -> str:
        return self.word.format(deal[0])

    def parse_terms(self, seat: int, text: str) -> Deal:
        return (1,) if text.startswith("1") else (0,)

    def appraise(self, seat: int, deal: Deal) -> tuple[int, ...]:
        return (self.appraised,)


def test_a_sound_task_passes() -> None:
    check_task(Broken(aims=(1.0, 1.0)))


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (Broken(aims=(0.0, 1.0)), "expected both above 0"),
        (Broken(aims=(2.0, 1.0)), "no deal reaches together"),
        (Broken(aims=(1.0, 1.0), worth=float("inf")), "is worth inf"),
        (Broken(aims=(1.0, 1.0), appraised=2), "ends in 2, but it is worth 1"),
        (Broken(aims=(1.0, 1.0), word="x"), "which reads as"),
        (Broken(aims=(1.0, 1.0), word="{}\nplease"), "does not survive the codec"),
        (Broken(aims=(1.0, 1.0), numbers=()), "has no deals"),
        (Broken(aims=(1.0, 1.0), numbers=(1, 1)), "lists a deal twice"),
        (Broken(aims=(1.0, 1.0), numbers=(1,)), "which is no deal of it"),
    ],
)
def test_a_broken_task_is_found(task: Task, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        check_task(task)


def test_leaks_are_found(pears: Scenario) -> None:
    leaky = replace(pears, context=f"Two pears. {pears.goals[1]}")
    with pytest.raises(AssertionError, match="seat 0 can see what is private to seat 1"):
        check_privacy(leaky)
    told = replace(pears.profiles[1], public_info="hides salt")
    with pytest.raises(AssertionError, match="seat 0 can see"):
        check_scenario(replace(pears, profiles=(pears.profiles[0], told)))
    # A stranger's public side is not shown, so nothing leaks.
    check_privacy(
        replace(pears, profiles=(pears.profiles[0], told), relationship=Relationship.STRANGER)
    )


def test_a_family_that_draws_anew_each_time_is_found(pears: Scenario) -> None:
    numbers = count()
    with pytest.raises(AssertionError, match="twice gives two scenarios"):
        check_family(lambda index: replace(pears, id=str(next(numbers))))
