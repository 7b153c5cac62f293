"""Coins: two people share a pile of coins; each needs some, and together they need no more."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from envs.errors import ActionError
from envs.scenarios.difficulty import Difficulty
from envs.scenarios.family import FAMILIES, Family
from envs.scenarios.story import Story
from envs.scenarios.task import Task
from envs.types import Deal


@dataclass(frozen=True, slots=True)
class CoinsTask(Task):
    """A pile of coins; a deal is how many of them seat 0 gets."""

    pile: int

    def deals(self) -> tuple[Deal, ...]:
        return tuple((n,) for n in range(self.pile + 1))

    def utility(self, seat: int, deal: Deal) -> float:
        return float(deal[0] if seat == 0 else self.pile - deal[0])

    def terms(self, seat: int, deal: Deal) -> str:
        return f"you {self.utility(1 - seat, deal):.0f}"

    def parse_terms(self, seat: int, text: str) -> Deal:
        found = re.fullmatch(r"you (\d+)", text.strip().lower())
        if not found or int(found[1]) > self.pile:
            raise ActionError(f"The offer {text[:80]!r} is not of the form 'you 3'.")
        given = int(found[1])
        return (self.pile - given,) if seat == 0 else (given,)

    def appraise(self, seat: int, deal: Deal) -> tuple[int, ...]:
        return (int(self.utility(seat, deal)),)


def draw_task(rng: Random, difficulty: Difficulty) -> CoinsTask:
    first, second, spare = rng.randint(1, 9), rng.randint(1, 9), rng.randint(0, 2)
    return CoinsTask(aims=(float(first), float(second)), pile=first + second + spare)


def tell(task: CoinsTask, rng: Random) -> Story:
    acts = "To propose a split, act `offer you <n>`: what the other gets. Act `accept` or `reject`."
    goals = tuple(f"Get at least {aim:.0f} coins; more earns nothing." for aim in task.aims)
    briefs = tuple(f"coins {task.pile} aim={aim:.0f}" for aim in task.aims)
    return Story(f"{{a}} and {{b}} found {task.pile} coins. {acts}", goals[:2], briefs[:2])


def key(task: CoinsTask) -> tuple[object, ...]:
    return (task.pile, *sorted(task.aims))


FAMILIES.add(Family(name="coins", make=draw_task, key=key, tell=tell, words=("coins",)))
