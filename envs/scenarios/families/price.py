"""The family price: a buyer and a seller with private limits agree on a price.

After Craigslist bargaining (arXiv 1808.09637). Prices are whole tens of dollars. Seat 0 buys, seat
1 sells.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from envs.errors import ActionError
from envs.scenarios.difficulty import Difficulty
from envs.scenarios.family import FAMILIES, Family
from envs.scenarios.story import Story
from envs.scenarios.task import Task
from envs.types import Deal, Turn

LOWEST, HIGHEST = 1, 20
WORDS = (
    *("price", "buy", "sell"),
    *(f"{name}={n}" for name in ("price", "limit") for n in range(LOWEST, HIGHEST + 1)),
)
BUYER, SELLER = 0, 1
_PRICE = re.compile(r"(?:price\s*=\s*)?(\d{1,4})")
_THINGS = ("a used bicycle", "a desk", "a guitar", "an old camera", "a kayak", "a sewing machine")


@dataclass(frozen=True, slots=True)
class PriceTask(Task):
    """A price between a buyer's and a seller's limit.

    Attributes:
        limits: the most that the buyer would pay, the least that the seller would take.
    """

    limits: tuple[int, int]

    def deals(self) -> tuple[Deal, ...]:
        return tuple((price,) for price in range(LOWEST, HIGHEST + 1))

    def utility(self, seat: int, deal: Deal) -> float:
        surplus = self.limits[BUYER] - deal[0] if seat == BUYER else deal[0] - self.limits[SELLER]
        return float(surplus)

    def terms(self, seat: int, deal: Deal) -> str:
        return f"price={deal[0]}"

    def parse_terms(self, seat: int, text: str) -> Deal:
        found = _PRICE.fullmatch(text.strip().lower())
        if not found or not LOWEST <= int(found[1]) <= HIGHEST:
            raise ActionError(
                f"The offer {text[:80]!r} is not a price from {LOWEST} to {HIGHEST}; "
                "write it as 'price=12'."
            )
        return (int(found[1]),)

    def appraise(self, seat: int, deal: Deal) -> tuple[int, ...]:
        return (int(self.utility(seat, deal)),)

    def statement(self, seat: int, rng: Random) -> str:
        return "that is too much" if seat == BUYER else "that is too little"

    def account(self, seat: int, deal: Deal) -> str:
        limit, price = self.limits[seat], deal[0]
        high, low = (limit, price) if seat == BUYER else (price, limit)
        return f"{high}-{low}={high - low}"

    def in_words(self, seat: int, deal: Deal) -> str:
        return f"a price of {deal[0]}"

    def wish(self, seat: int, rng: Random) -> str:
        buyer = (
            "I like it, but I do not want to spend too much.",
            "I am interested if the price is right.",
            "My budget is tight at the moment.",
        )
        seller = (
            "It is in good shape, so I do not want to give it away.",
            "Others have asked about it, too.",
            "I have taken good care of it and hope for a fair price.",
        )
        return rng.choice(buyer if seat == BUYER else seller)

    def estimated_interest(self, seat: int, turns: tuple[Turn, ...]) -> Callable[[Deal], float]:
        """The price itself: sellers like it high, buyers low."""
        return (lambda deal: deal[0]) if seat == BUYER else (lambda deal: -deal[0])


@dataclass(frozen=True, slots=True)
class _Setting:
    """The generator's parameters at one difficulty.

    Attributes:
        gap: the least and greatest difference between the limits.
        share: the buyer's least and greatest part of the sum of both aims.
        aim_share: the part of the gap that the two aims sum to.
    """

    gap: tuple[int, int]
    share: tuple[float, float]
    aim_share: float


_SETTINGS: Mapping[Difficulty, _Setting] = {
    Difficulty.EASY: _Setting((10, 16), (0.3, 0.7), 0.6),
    Difficulty.MEDIUM: _Setting((4, 12), (0.3, 0.7), 1.0),
    Difficulty.HARD: _Setting((3, 6), (0.1, 0.9), 1.0),
}


def draw_task(rng: Random, difficulty: Difficulty = Difficulty.MEDIUM) -> PriceTask:
    """Draw two limits with a gap between them, and aims that ask for uneven parts of the gap.

    If an aim were always half of the gap, it would tell each side the other's limit.
    """
    setting = _SETTINGS[difficulty]
    gap = rng.randint(*setting.gap)
    seller = rng.randint(LOWEST + 1, HIGHEST - gap)
    aim_share = round(gap * setting.aim_share)
    share = min(aim_share - 1, max(1, round(aim_share * rng.uniform(*setting.share))))
    return PriceTask(aims=(float(share), float(aim_share - share)), limits=(seller + gap, seller))


def key(task: PriceTask) -> tuple[object, ...]:
    """The identity of a task's context."""
    return (task.limits, task.aims)


def tell(task: PriceTask, rng: Random) -> Story:
    """Write the scene and both private sides, in prose and in the line language."""
    thing = rng.choice(_THINGS)
    acts = (
        " Prices are in tens of dollars, from 1 to 20. To propose a price, act `offer price=<n>`."
        " Act `accept` to close the deal on the other's offer, `reject` to turn it down. Without a"
        " deal nothing changes hands."
    )
    buyer, seller = task.limits
    return Story(
        context=f"{{a}} answers {{b}}'s advertisement and wants to buy {thing}." + acts,
        goals=(
            f"Buy {thing}. It is worth {buyer} to you: each unit below that is a point. Save at"
            f" least {task.aims[0]:.0f}; more earns nothing.",
            f"Sell {thing}. It is worth {seller} to you: each unit above that is a point. Gain at"
            f" least {task.aims[1]:.0f}; more earns nothing.",
        ),
        briefs=(
            f"price buy limit={buyer} aim={task.aims[0]:.0f}",
            f"price sell limit={seller} aim={task.aims[1]:.0f}",
        ),
    )


FAMILIES.add(Family(name="price", make=draw_task, key=key, tell=tell, words=WORDS))
