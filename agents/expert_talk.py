"""What a bargainer says of its wishes, and what it gathers of the other's from words and offers.

One pair of functions for each kind of task, chosen by the task's type. They read the seat's own
side of the task only; the other's wishes are guessed from the transcript.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import singledispatch
from random import Random

from envs.bargaining import read_act
from envs.errors import ActionError
from envs.scenarios.item_split import SplitTask
from envs.scenarios.match import PEOPLE, MatchTask
from envs.scenarios.plans import PlansTask
from envs.scenarios.price import BUYER, PriceTask
from envs.scenarios.task import Task
from envs.types import ActionType, Deal, Turn

Interest = Callable[[Deal], float]
"""How much the other seems to like a deal, on any scale."""


def offers(task: Task, seat: int, turns: tuple[Turn, ...]) -> Iterator[Deal]:
    """The deals that `seat` has offered, in order."""
    for turn in turns:
        if turn.seat == seat and turn.action.type is ActionType.ACT:
            act = read_act(turn.action.argument)
            if act.keyword != "offer":
                continue
            try:
                yield task.parse_terms(seat, act.rest)
            except ActionError:
                continue


def _said(seat: int, turns: tuple[Turn, ...]) -> list[list[str]]:
    return [
        turn.action.argument.lower().split()
        for turn in turns
        if turn.seat == seat and turn.action.type is ActionType.SPEAK
    ]


@singledispatch
def thinkable(task: Task, seat: int, *, careful: bool = True) -> list[Deal]:
    """The deals that `seat` could offer, as far as it can tell; the careful ones keep secrets."""
    return list(task.deals())


@singledispatch
def worth(task: Task, seat: int, deal: Deal) -> float:
    """What `deal` seems worth to `seat`, which knows its own side only."""
    return task.utility(seat, deal)


@singledispatch
def statement(task: Task, seat: int, rng: Random) -> str | None:
    """A true sentence about what `seat` wants, None if there is nothing to say."""
    return None


@singledispatch
def interest(task: Task, seat: int, turns: tuple[Turn, ...]) -> Interest:
    """What the seat across from `seat` seems to like, from what it said and offered."""
    return lambda deal: 0.0


@statement.register
def _(task: SplitTask, seat: int, rng: Random) -> str:
    values = task.values[seat]
    if rng.random() < 0.7:
        return f"i want {task.items[values.index(max(values))]}"
    return f"i need no {task.items[values.index(min(values))]}"


@interest.register
def _(task: SplitTask, seat: int, turns: tuple[Turn, ...]) -> Interest:
    other = 1 - seat
    weight = dict.fromkeys(task.items, 2.0)
    for words in _said(other, turns):
        for item in task.items:
            if item in words:
                weight[item] += -1.5 if "no" in words else 2.0
    for deal in offers(task, other, turns):
        for item, kept, pool in zip(task.items, task.share(other, deal), task.pool, strict=True):
            weight[item] += 1.5 * (kept / pool - 0.5) if pool else 0.0
    weights = [max(0.0, weight[item]) for item in task.items]
    return lambda deal: sum(n * w for n, w in zip(task.share(other, deal), weights, strict=True))


@statement.register
def _(task: PlansTask, seat: int, rng: Random) -> str:
    tastes = task.tastes[seat]
    if rng.random() < 0.7:
        return f"i like {task.options[tastes.index(max(tastes))]}"
    return f"i like no {task.options[tastes.index(min(tastes))]}"


@interest.register
def _(task: PlansTask, seat: int, turns: tuple[Turn, ...]) -> Interest:
    other = 1 - seat
    liking = dict.fromkeys(task.options, 0.0)
    for words in _said(other, turns):
        for option in task.options:
            if option in words:
                liking[option] += -3.0 if "no" in words else 3.0
    for deal in offers(task, other, turns):
        liking[task.options[deal[0]]] += 2.0
    for deal in offers(task, seat, turns):  # mine was not taken
        liking[task.options[deal[0]]] -= 2.0
    return lambda deal: liking[task.options[deal[0]]]


@statement.register
def _(task: PriceTask, seat: int, rng: Random) -> str:
    return "that is too much" if seat == BUYER else "that is too little"


@interest.register
def _(task: PriceTask, seat: int, turns: tuple[Turn, ...]) -> Interest:
    return (lambda deal: deal[0]) if seat == BUYER else (lambda deal: -deal[0])


@thinkable.register
def _(task: MatchTask, seat: int, *, careful: bool = True) -> list[Deal]:
    return [
        (PEOPLE.index(person),)
        for person in task.known[seat]
        if not careful or person != task.secrets[seat]
    ]


@worth.register
def _(task: MatchTask, seat: int, deal: Deal) -> float:
    return task.aims[seat] if PEOPLE[deal[0]] in task.known[seat] else 0.0


@statement.register
def _(task: MatchTask, seat: int, rng: Random) -> str:
    told = [person for person in task.known[seat] if person != task.secrets[seat]]
    return f"i know somebody at {rng.choice(told).split('@')[1]}"


@interest.register
def _(task: MatchTask, seat: int, turns: tuple[Turn, ...]) -> Interest:
    places = {words[-1] for words in _said(1 - seat, turns) if words}
    tried = {deal for who in (0, 1) for deal in offers(task, who, turns)}
    return lambda deal: (PEOPLE[deal[0]].split("@")[1] in places) - 5.0 * (deal in tried)
