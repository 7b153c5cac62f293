"""Reads tasks from the prose of those SOTOPIA scenarios that a program can check.

There is one parser for each source. A scene or goal that it cannot read is an error, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Final

from envs.errors import DataError, quoted
from envs.referee import MOST_DEALS
from envs.scenarios.dollars import dollars, from_targets, step_cents
from envs.scenarios.families.item_split import with_nash_aims
from envs.scenarios.friends import FriendsTask
from envs.scenarios.markup import seen_by, seen_by_all
from envs.scenarios.records import EnvironmentRecord
from envs.scenarios.task import Task

_COUNTED: Final = re.compile(r"\b(\d{1,6}) ([a-z]+)\b")
_DOLLARS: Final = r"\$((?:\d{1,3}(?:,\d{3}){1,2}+|\d{1,7}+)(?:\.\d+)?+)(?!,?\d)"
_AMOUNT: Final = re.compile(_DOLLARS)
_TARGET: Final = re.compile(rf"\btarget price\b[^$]{{0,20}}{_DOLLARS}")
_FRIEND: Final = re.compile(r"([^:\n]+): ((?:Hobby|School|Major|Company|Time|Location)\b.*)")


@dataclass(frozen=True, slots=True)
class Verifiable:
    """A task, and texts that tell the seats how to act in it.

    Attributes:
        acts: a text for all seats, to follow the scene.
        notes: a text for each seat, to follow its goal; may be empty.
    """

    task: Task
    acts: str
    notes: tuple[str, str] = ("", "")


def read_verifiable(record: EnvironmentRecord) -> Verifiable | None:
    """The task of a scenario; None where its source has no goals that a program can check.

    Raises:
        DataError: the source has such goals, but these cannot be read.
    """
    reader = READERS.get(record.source)
    if reader is None:
        return None
    if len(record.agent_goals) != 2:
        raise DataError(
            f"Scenario {quoted(record.env_id)} of {record.source} has "
            f"{len(record.agent_goals)} goals, expected 2; change its source to have it judged "
            "instead."
        )
    read = reader(record)
    if min(read.task.aims) <= 0:
        raise _unreadable(record, "goals", "a deal in which both seats gain")
    return read


def _read_division(record: EnvironmentRecord) -> Verifiable:
    """Read the items and their numbers from the scene, their points from the goals."""
    pool = {_singular(noun): int(n) for n, noun in _COUNTED.findall(seen_by_all(record.scenario))}
    if len(pool) < 2:
        raise _unreadable(record, "scene", "the numbers of two or more kinds of items")
    if prod(n + 1 for n in pool.values()) > MOST_DEALS:
        raise _unreadable(record, "scene", f"of items in at most {MOST_DEALS:,} splits")
    items = tuple(pool)
    first, second = (_values(record, seat, items) for seat in (0, 1))
    task = with_nash_aims(items, tuple(pool.values()), (first, second))
    form = " ".join(f"{item}=<n>" for item in items)
    return Verifiable(
        task,
        f"To propose a split, act `offer you {form}`: what the other gets; you keep the rest."
        f" {_ANSWERS} Without a deal nobody gets anything.",
    )


def _values(record: EnvironmentRecord, seat: int, items: tuple[str, ...]) -> tuple[int, ...]:
    goal = seen_by(record.agent_goals[seat], seat).lower()
    values = []
    for item in items:
        # From the item to its points no other number may come: "an orange is 3 points".
        found = re.findall(rf"\b{item}s?\b[^\d.,;]{{0,200}}(\d{{1,6}}) points?\b", goal)
        found += re.findall(rf"\b{item}s? = (\d{{1,6}}) points?\b", goal)
        if len(set(found)) != 1:
            raise _unreadable(record, f"goal {seat}", f"the points of one {item}")
        values.append(int(found[0]))
    return tuple(values)


def _singular(noun: str) -> str:
    return noun.removesuffix("s")


def _read_bargain(record: EnvironmentRecord) -> Verifiable:
    """Read the listed price from the scene, the two targets from the goals."""
    listed = _cents(_AMOUNT.findall(record.scenario), record, "scene", "one price")
    buyer, seller = (
        _cents(_TARGET.findall(goal), record, f"goal {seat}", "one target price")
        for seat, goal in enumerate(record.agent_goals)
    )
    if "buyer" not in record.agent_goals[0] or "seller" not in record.agent_goals[1]:
        raise _unreadable(record, "goals", "a buyer first and a seller second")
    if not 0 < listed // step_cents(listed) <= MOST_DEALS:
        raise _unreadable(record, "scene", f"a price of up to {MOST_DEALS:,} steps")
    task = from_targets(listed, (buyer, seller))
    return Verifiable(
        task,
        "To propose a price, act `offer price=<dollars>`, such as"
        f" `offer {task.terms(0, (listed,))}`: up to the listed price, in steps of"
        f" {dollars(task.step_cents)}. {_ANSWERS} Without a deal nothing changes hands.",
        (
            f"Paying {dollars(task.limits_cents[0])} or more is no better for you than no deal.",
            f"Taking {dollars(task.limits_cents[1])} or less is no better for you than no deal.",
        ),
    )


def _cents(found: list[str], record: EnvironmentRecord, where: str, what: str) -> int:
    if len(found) != 1:
        raise _unreadable(record, where, what)
    return round(float(found[0].replace(",", "")) * 100)


def _read_friends(record: EnvironmentRecord) -> Verifiable:
    """Read each seat's friends and their details; those in both lists are mutual."""
    first, second = (_friends(record, seat) for seat in (0, 1))
    mutual = tuple(sorted(name for name, about in first.items() if second.get(name) == about))
    if not mutual:
        raise _unreadable(record, "goals", "a friend who is in both lists")
    task = FriendsTask((10.0, 10.0), (tuple(first), tuple(second)), mutual)
    return Verifiable(
        task,
        "To name somebody who may be a mutual friend, act `offer <first name>`. Act `accept` if you"
        " know that very person too: it settles the question. Act `reject` if not.",
    )


def _friends(record: EnvironmentRecord, seat: int) -> Mapping[str, str]:
    goal = seen_by(record.agent_goals[seat], seat)
    lines = filter(None, map(_FRIEND.match, goal.split("\n")))
    friends = {line[1].strip(): line[2].strip() for line in lines}
    if len(friends) < 2:
        raise _unreadable(record, f"goal {seat}", "two or more friends, one a line")
    return friends


def _unreadable(record: EnvironmentRecord, where: str, what: str) -> DataError:
    return DataError(
        f"Scenario {quoted(record.env_id)} ({quoted(record.codename)}): the {where} does not tell "
        f"{what}, as {record.source} does; correct it, or change its source to have it judged "
        "instead."
    )


_ANSWERS: Final = "Act `accept` to close the deal on the other's offer, `reject` to turn it down."

READERS: dict[str, Callable[[EnvironmentRecord], Verifiable]] = {
    "deal-or-no-deal": _read_division,
    "craigslist_bargains": _read_bargain,
    "mutual_friends": _read_friends,
}
"""The parser of each source."""
