"""The family plans: agree on one of several options, with private points for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import floor
from random import Random

from envs.errors import ActionError
from envs.referee import attainable, deals_reaching_aims, utilities
from envs.scenarios.difficulty import Difficulty
from envs.scenarios.family import FAMILIES, Family
from envs.scenarios.story import Story
from envs.scenarios.task import Task, refuses, spoken_words
from envs.types import Deal, Turn

OPTIONS = ("beach", "cafe", "cinema", "museum", "park", "zoo")
_MOST_LIKED = 10
WORDS = (
    "plans",
    *(
        word
        for option in OPTIONS
        for word in (option, *(f"{option}:{n}" for n in range(_MOST_LIKED + 1)))
    ),
)
_SCENES = (
    "{a} and {b} have the Saturday off and want to spend it together: {options}.",
    "{a} visits {b} for a day. They have to settle on one thing to do: {options}.",
    "The office outing is {a}'s and {b}'s to choose: {options}.",
    "{a} and {b} celebrate a birthday and can book one place: {options}.",
)


@dataclass(frozen=True, slots=True)
class PlansTask(Task):
    """Options and each seat's private points for them; a deal is an index into `options`."""

    options: tuple[str, ...]
    tastes: tuple[tuple[int, ...], tuple[int, ...]]

    def deals(self) -> tuple[Deal, ...]:
        return tuple((i,) for i in range(len(self.options)))

    def utility(self, seat: int, deal: Deal) -> float:
        return float(self.tastes[seat][deal[0]])

    def terms(self, seat: int, deal: Deal) -> str:
        return self.options[deal[0]]

    def parse_terms(self, seat: int, text: str) -> Deal:
        word = text.strip().lower()
        if word not in self.options:
            raise ActionError(
                f"The offer {text[:80]!r} is not one of the options: {', '.join(self.options)}."
            )
        return (self.options.index(word),)

    def appraise(self, seat: int, deal: Deal) -> tuple[int, ...]:
        return (self.tastes[seat][deal[0]],)

    def statement(self, seat: int, rng: Random) -> str:
        tastes = self.tastes[seat]
        if rng.random() < 0.7:
            return f"i like {self.options[tastes.index(max(tastes))]}"
        return f"i like no {self.options[tastes.index(min(tastes))]}"

    def account(self, seat: int, deal: Deal) -> str:
        return f"{self.options[deal[0]]} {self.tastes[seat][deal[0]]}"

    def in_words(self, seat: int, deal: Deal) -> str:
        return f"the {self.options[deal[0]]}"

    def wish(self, seat: int, rng: Random) -> str:
        tastes = self.tastes[seat]
        best, least = (self.options[tastes.index(pick(tastes))] for pick in (max, min))
        likes = (
            f"I would love to go to the {best}.",
            f"The {best} is my favourite.",
            f"I have been looking forward to the {best}.",
        )
        dislikes = (f"I am not keen on the {least}.", f"Please, not the {least}.")
        return rng.choice(likes if rng.random() < 0.7 else dislikes)

    def estimated_interest(self, seat: int, turns: tuple[Turn, ...]) -> Callable[[Deal], float]:
        """Options gain when the other names or offers them, and lose when it did not take them."""
        other = 1 - seat
        liking = dict.fromkeys(self.options, 0.0)
        for words in spoken_words(other, turns):
            for option in self.options:
                if option in words:
                    liking[option] += -3.0 if refuses(words) else 3.0
        for deal in self.offers(other, turns):
            liking[self.options[deal[0]]] += 2.0
        for deal in self.offers(seat, turns):
            liking[self.options[deal[0]]] -= 2.0
        return lambda deal: liking[self.options[deal[0]]]


@dataclass(frozen=True, slots=True)
class _Setting:
    """The generator's parameters at one difficulty.

    Attributes:
        share: the part of the best compromise's points that the aims ask for.
        reaching: the fewest and most options that may reach both aims.
        torn: whether each side prefers an option to the compromise that is worth less than half of
            the compromise to the other.
    """

    share: float
    reaching: tuple[int, int]
    torn: bool


_SETTINGS: Mapping[Difficulty, _Setting] = {
    Difficulty.EASY: _Setting(0.75, (2, 6), False),
    Difficulty.MEDIUM: _Setting(1.0, (1, 6), False),
    Difficulty.HARD: _Setting(1.0, (1, 1), True),
}


def draw_task(rng: Random, difficulty: Difficulty = Difficulty.MEDIUM) -> PlansTask:
    """Draw points from 0 to 10 for each option, with a compromise worth 4 or more to both."""
    setting = _SETTINGS[difficulty]
    fewest, most = setting.reaching
    while True:
        first = tuple(rng.randint(0, _MOST_LIKED) for _ in OPTIONS)
        second = tuple(rng.randint(0, _MOST_LIKED) for _ in OPTIONS)
        task = PlansTask(aims=(1.0, 1.0), options=OPTIONS, tastes=(first, second))
        worth = utilities(task, attainable(task).nash_deal)
        if min(worth) < 4 or (setting.torn and not _torn(task)):
            continue
        aims = (float(floor(setting.share * worth[0])), float(floor(setting.share * worth[1])))
        task = replace(task, aims=aims)
        if fewest <= deals_reaching_aims(task) <= most:
            return task


def _torn(task: PlansTask) -> bool:
    """Whether each side prefers an option that is bad for the other to the compromise."""
    (compromise,) = attainable(task).nash_deal
    for own, other in (task.tastes, task.tastes[::-1]):
        likes_best = own.index(max(own))
        if own[compromise] == own[likes_best] or 2 * other[likes_best] >= other[compromise]:
            return False
    return True


def key(task: PlansTask) -> tuple[object, ...]:
    """The identity of a task's context, regardless of the seats."""
    return tuple(sorted(task.tastes))


def tell(task: PlansTask, rng: Random) -> Story:
    """Write the scene and both private sides, in prose and in the line language."""
    acts = (
        " To propose one, act `offer <option>`. Act `accept` to settle on the other's proposal,"
        " `reject` to turn it down. Without an agreement each stays at home."
    )
    return Story(
        context=rng.choice(_SCENES).replace("{options}", ", ".join(task.options)) + acts,
        goals=(_goal(task, 0), _goal(task, 1)),
        briefs=(_brief(task, 0), _brief(task, 1)),
    )


def _goal(task: PlansTask, seat: int) -> str:
    tastes = ", ".join(f"{o} {t}" for o, t in zip(task.options, task.tastes[seat], strict=True))
    return (
        "Settle on something that you like. From 0 to 10 you like: "
        f"{tastes}. {task.aims[seat]:.0f} is enough; more earns nothing."
    )


def _brief(task: PlansTask, seat: int) -> str:
    tastes = " ".join(f"{o}:{t}" for o, t in zip(task.options, task.tastes[seat], strict=True))
    return f"plans {tastes} aim={task.aims[seat]:.0f}"


FAMILIES.add(Family(name="plans", make=draw_task, key=key, tell=tell, words=WORDS))
