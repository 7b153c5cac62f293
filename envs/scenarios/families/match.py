"""The family match: find the shared acquaintance without mentioning a secret one.

After MutualFriends (arXiv 1704.07130). Each side knows a few people by name and place, and both
know exactly one of them. Each side has one person that it must not mention to the other.
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
from envs.scenarios.task import Task, spoken_words
from envs.types import Deal, Turn

NAMES = ("ana", "bob", "cleo", "dan", "eve", "finn")
PLACES = ("bank", "farm", "gym", "mill", "port", "shop")
PEOPLE = tuple(f"{name}@{place}" for name in NAMES for place in PLACES)
WORDS = ("match", *PEOPLE, *PLACES)
_PERSON = re.compile(r"(?<![a-z])[a-z]++@[a-z]+")  # from a word's beginning: in linear time
_POINTS = 10
_KNOWN: Mapping[Difficulty, int] = {
    Difficulty.EASY: 3,
    Difficulty.MEDIUM: 4,
    Difficulty.HARD: 8,
}
"""The number of people that each side knows."""

_SCENES = (
    "{a} and {b} meet at a wedding and are sure that they know somebody in common.",
    "{a} and {b} sit beside each other on a train and look for a common acquaintance.",
    "{a} and {b} are to name one person who can vouch for both of them.",
)


@dataclass(frozen=True, slots=True)
class MatchTask(Task):
    """The people that each seat knows; a deal is an index into all (name, place) pairs.

    Attributes:
        known: the people that each seat knows, as "name@place", in alphabetical order.
        secrets: the one of them that each seat must not mention.
    """

    known: tuple[tuple[str, ...], tuple[str, ...]]
    secrets: tuple[str, str]

    def deals(self) -> tuple[Deal, ...]:
        return tuple((i,) for i in range(len(PEOPLE)))

    def utility(self, seat: int, deal: Deal) -> float:
        person = PEOPLE[deal[0]]
        return float(_POINTS) if all(person in known for known in self.known) else 0.0

    def terms(self, seat: int, deal: Deal) -> str:
        return PEOPLE[deal[0]]

    def parse_terms(self, seat: int, text: str) -> Deal:
        word = text.strip().lower()
        if word not in PEOPLE:
            raise ActionError(
                f"The offer {text[:80]!r} does not name a person; write it as 'name@place', "
                f"with a name of {', '.join(NAMES)} and a place of {', '.join(PLACES)}."
            )
        return (PEOPLE.index(word),)

    def appraise(self, seat: int, deal: Deal) -> tuple[int, ...]:
        return (int(self.utility(seat, deal)),)

    def leaks(self, seat: int, text: str) -> bool:
        words = text.lower()
        rest = set(re.findall(r"[a-z]+", _PERSON.sub(" ", words)))  # "Ana from the bank"
        secret = self.secrets[seat]
        return secret in _PERSON.findall(words) or rest.issuperset(secret.split("@"))

    def statement(self, seat: int, rng: Random) -> str:
        public = [person for person in self.known[seat] if person != self.secrets[seat]]
        return f"i know somebody at {rng.choice(public).split('@')[1]}"

    def account(self, seat: int, deal: Deal) -> str:
        person = PEOPLE[deal[0]]
        known = "I know" if person in self.known[seat] else "I do not know"
        return f"{known} {person}"

    def in_words(self, seat: int, deal: Deal) -> str:
        name, place = PEOPLE[deal[0]].split("@")
        return f"{name.capitalize()} from the {place}"

    def wish(self, seat: int, rng: Random) -> str:
        public = [person for person in self.known[seat] if person != self.secrets[seat]]
        return f"I know somebody at the {rng.choice(public).split('@')[1]}."

    def offerable_deals(self, seat: int, *, careful: bool = True) -> list[Deal]:
        """The people that `seat` knows; without its secret one if it is careful."""
        return [
            (PEOPLE.index(person),)
            for person in self.known[seat]
            if not careful or person != self.secrets[seat]
        ]

    def apparent_worth(self, seat: int, deal: Deal) -> float:
        """The aim for anybody that `seat` knows: the other may know that person as well."""
        return self.aims[seat] if PEOPLE[deal[0]] in self.known[seat] else 0.0

    def estimated_interest(self, seat: int, turns: tuple[Turn, ...]) -> Callable[[Deal], float]:
        """People at places that the other named, unless they were offered before."""
        places = {words[-1] for words in spoken_words(1 - seat, turns) if words}
        tried = {deal for who in (0, 1) for deal in self.offers(who, turns)}
        return lambda deal: (PEOPLE[deal[0]].split("@")[1] in places) - 5.0 * (deal in tried)


def draw_task(rng: Random, difficulty: Difficulty = Difficulty.MEDIUM) -> MatchTask:
    """Draw equally many people for each side, with one of them shared and one of each secret."""
    known = _KNOWN[difficulty]
    people = rng.sample(PEOPLE, 2 * known - 1)
    shared, first, second = people[0], people[1:known], people[known:]
    return MatchTask(
        aims=(float(_POINTS), float(_POINTS)),
        known=(tuple(sorted([shared, *first])), tuple(sorted([shared, *second]))),
        secrets=(rng.choice(first), rng.choice(second)),
    )


def key(task: MatchTask) -> tuple[object, ...]:
    """The identity of a task's context, regardless of the seats."""
    return tuple(sorted(zip(task.known, task.secrets, strict=True)))


def tell(task: MatchTask, rng: Random) -> Story:
    """Write the scene and both private sides, in prose and in the line language."""
    acts = (
        " To name somebody whom both of you may know, act `offer <name>@<place>`. Act `accept` if"
        " you know that person too, `reject` if not."
    )
    return Story(
        context=rng.choice(_SCENES) + acts,
        goals=(_goal(task, 0), _goal(task, 1)),
        briefs=(_brief(task, 0), _brief(task, 1)),
    )


def _goal(task: MatchTask, seat: int) -> str:
    known = ", ".join(task.known[seat])
    return (
        f"Find the one person whom both of you know; it earns {_POINTS} points. You know {known}."
        f" Do not mention {task.secrets[seat]}: that is a secret."
    )


def _brief(task: MatchTask, seat: int) -> str:
    return f"match {' '.join(task.known[seat])} keep {task.secrets[seat]} aim={_POINTS}"


FAMILIES.add(Family(name="match", make=draw_task, key=key, tell=tell, words=WORDS))
