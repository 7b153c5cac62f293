"""Tasks in which two seats divide countable items, each with private values per item.

The families division and camp share it. A deal is the number of each item that seat 0 gets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import floor
from random import Random

from envs.errors import ActionError
from envs.referee import attainable, utilities
from envs.scenarios.task import Task, refuses, spoken_words
from envs.types import Deal, Turn

_UNCOUNTED = frozenset({"food", "water", "wood"})
_PART = re.compile(r"(?<![a-z])([a-z]++)\s*+[=:]\s*+(\d{1,3})")
"""It begins with a word and gives nothing back, so that it takes time in proportion to a text."""


@dataclass(frozen=True, slots=True)
class SplitTask(Task):
    """The number of each item, and each seat's points for one unit of it.

    Attributes:
        items: item names, single lower-case words.
        pool: how many of each there are, >= 0.
        values: for each seat the points of one unit of each item, >= 0.
    """

    items: tuple[str, ...]
    pool: tuple[int, ...]
    values: tuple[tuple[int, ...], tuple[int, ...]]

    def deals(self) -> tuple[Deal, ...]:
        return _splits(self.pool)

    def utility(self, seat: int, deal: Deal) -> float:
        return float(
            sum(n * v for n, v in zip(self.share(seat, deal), self.values[seat], strict=True))
        )

    def share(self, seat: int, deal: Deal) -> tuple[int, ...]:
        """How many of each item `seat` gets."""
        if seat == 0:
            return deal
        return tuple(n - given for n, given in zip(self.pool, deal, strict=True))

    def terms(self, seat: int, deal: Deal) -> str:
        share = self.share(1 - seat, deal)
        return "you " + " ".join(f"{i}={n}" for i, n in zip(self.items, share, strict=True))

    def offer_pattern(self, seat: int) -> str:
        counts = (
            f"{item}=(?:{'|'.join(map(str, range(most + 1)))})"
            for item, most in zip(self.items, self.pool, strict=True)
        )
        return f"you {' '.join(counts)}"

    def parse_terms(self, seat: int, text: str) -> Deal:
        words = text.strip().lower()
        whose, _, rest = words.partition(" ")
        parts = _PART.findall(rest)
        counts = {item: int(n) for item, n in parts}
        example = self.terms(seat, tuple(0 for _ in self.pool))
        if whose not in ("you", "me") or set(counts) != set(self.items):
            raise ActionError(
                f"The offer {text[:80]!r} does not say who gets how many of each of "
                f"{', '.join(self.items)}; write it as {example!r} (or with 'me')."
            )
        if len(parts) > len(counts):
            twice = next(item for item in counts if sum(item == name for name, _ in parts) > 1)
            raise ActionError(
                f"The offer {text[:80]!r} names {twice} more than once; name each item once, as in "
                f"{example!r}."
            )
        for item, limit in zip(self.items, self.pool, strict=True):
            if counts[item] > limit:
                raise ActionError(
                    f"The offer {text[:80]!r} gives {counts[item]} {item}, but there are {limit}."
                )
        named = tuple(counts[item] for item in self.items)
        receiver = 1 - seat if whose == "you" else seat
        return self.share(receiver, named)

    def appraise(self, seat: int, deal: Deal) -> tuple[int, ...]:
        total, running = 0, []
        for n, value in zip(self.share(seat, deal), self.values[seat], strict=True):
            total += n * value
            running.append(total)
        return tuple(running)

    def statement(self, seat: int, rng: Random) -> str:
        values = self.values[seat]
        if rng.random() < 0.7:
            return f"i want {self.items[values.index(max(values))]}"
        return f"i need no {self.items[values.index(min(values))]}"

    def account(self, seat: int, deal: Deal) -> str:
        steps, total = [], 0
        for item, n, value in zip(
            self.items, self.share(seat, deal), self.values[seat], strict=True
        ):
            total += n * value
            steps.append(f"{item} {n}x{value}={n * value}, so {total}")
        return "; ".join(steps)

    def in_words(self, seat: int, deal: Deal) -> str:
        given = self.share(1 - seat, deal)
        if not any(given):
            return "a split where I get everything"
        if given == self.pool:
            return "a split where you get everything"
        parts = [self._counted(n, item) for n, item in zip(given, self.items, strict=True) if n]
        listed = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
        return f"a split where you get {listed}"

    def _counted(self, n: int, item: str) -> str:
        if item in _UNCOUNTED:
            return f"{n} pack{'s' if n > 1 else ''} of {item}"
        return f"{n} {item if n == 1 else self.plural(item)}"

    def plural(self, item: str) -> str:
        """The name of several of an item."""
        return item if item in _UNCOUNTED else f"{item}s"

    def wish(self, seat: int, rng: Random) -> str:
        values = self.values[seat]
        best, least = (self.plural(self.items[values.index(pick(values))]) for pick in (max, min))
        wants = (
            f"What I need most is the {best}.",
            f"I would like as many of the {best} as I can get."
            if best not in _UNCOUNTED
            else f"I would like as much of the {best} as I can get.",
            f"The {best} would help me a lot.",
        )
        spares = (
            f"I do not need the {least} so much.",
            f"I have no great use for the {least}.",
        )
        return rng.choice(wants if rng.random() < 0.7 else spares)

    def estimated_interest(self, seat: int, turns: tuple[Turn, ...]) -> Callable[[Deal], float]:
        """The other's share, where items count more that it said it wants or kept in its offers."""
        other = 1 - seat
        weight = dict.fromkeys(self.items, 2.0)
        for words in spoken_words(other, turns):
            for item in self.items:
                if item in words or f"{item}s" in words:
                    weight[item] += -1.5 if refuses(words) else 2.0
        for deal in self.offers(other, turns):
            for item, kept, pool in zip(
                self.items, self.share(other, deal), self.pool, strict=True
            ):
                weight[item] += 1.5 * (kept / pool - 0.5) if pool else 0.0
        weights = [max(0.0, weight[item]) for item in self.items]
        return lambda deal: sum(
            n * w for n, w in zip(self.share(other, deal), weights, strict=True)
        )


@cache
def _splits(pool: tuple[int, ...]) -> tuple[Deal, ...]:
    return tuple(product(*(range(n + 1) for n in pool)))


def with_nash_aims(
    items: tuple[str, ...],
    pool: tuple[int, ...],
    values: tuple[tuple[int, ...], tuple[int, ...]],
    share: float = 1.0,
) -> SplitTask:
    """A task whose aims are each seat's points in the Nash bargaining solution.

    Args:
        share: the part of these points to ask for, in (0, 1]; aims are rounded down.
    """
    task = SplitTask(aims=(1.0, 1.0), items=items, pool=pool, values=values)
    first, second = utilities(task, attainable(task).nash_deal)
    return replace(task, aims=(float(floor(share * first)), float(floor(share * second))))


def key(task: SplitTask) -> tuple[object, ...]:
    """The identity of a task's context, regardless of the seats."""
    return (task.pool, tuple(sorted(task.values)))


def item_words(items: Sequence[str], *, most: int, highest: int) -> tuple[str, ...]:
    """The words of the line language for items: names, counts up to `most`, values to `highest`."""
    return tuple(
        word
        for item in items
        for word in (
            item,
            *(f"{item}={n}" for n in range(most + 1)),
            *(f"{item}*{n}" for n in range(highest + 1)),
        )
    )


def brief(family: str, task: SplitTask, seat: int) -> str:
    """The private side of `seat` in the line language: the pool, the points of a unit, the aim."""
    pool = " ".join(f"{i}={n}" for i, n in zip(task.items, task.pool, strict=True))
    worth = " ".join(f"{i}*{v}" for i, v in zip(task.items, task.values[seat], strict=True))
    return f"{family} {pool} worth {worth} aim={task.aims[seat]:.0f}"
