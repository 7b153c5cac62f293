"""The nouns of the social world: who is there, what may be done, what happened.

Immutable data without behaviour of its own. Seats number the agents from 0, turns number the
transcript from 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envs.scenarios.task import Task

Deal = tuple[int, ...]
"""One possible agreement, as numbers that only its task can read (counts, a price, an option)."""


class ActionType(StrEnum):
    """SOTOPIA's five action types, by their names there (arXiv 2310.11667, section 2.2)."""

    NONE = "none"
    SPEAK = "speak"
    NON_VERBAL = "non-verbal communication"
    ACT = "action"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Action:
    """What one agent does in one turn.

    Attributes:
        type: one of SOTOPIA's five types; an invalid action is of type NONE.
        argument: the words said, the gesture or the act; empty for NONE and LEAVE.
        invalid: why the agent's reply could not be carried out, None for a valid action.
    """

    type: ActionType
    argument: str = ""
    invalid: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One action in its place: `index` in the transcript, taken by `seat`."""

    index: int
    seat: int
    action: Action


class Relationship(IntEnum):
    """How well two agents know each other: SOTOPIA's scale."""

    STRANGER = 0
    KNOW_BY_NAME = 1
    ACQUAINTANCE = 2
    FRIEND = 3
    ROMANTIC = 4
    FAMILY = 5


@dataclass(frozen=True, slots=True)
class Profile:
    """A character, with SOTOPIA's fields."""

    first_name: str
    last_name: str = ""
    age: int | None = None
    occupation: str = ""
    gender: str = ""
    pronoun: str = ""
    public_info: str = ""
    big_five: str = ""
    moral_values: tuple[str, ...] = ()
    schwartz_personal_values: tuple[str, ...] = ()
    personality_and_values: str = ""
    decision_making_style: str = ""
    secret: str = ""
    id: str = ""

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()


@dataclass(frozen=True, slots=True)
class Scenario:
    """One situation, with everybody's private side in it; agents see only a `View` of it.

    Attributes:
        id: unique and stable; two scenarios with one id are equal.
        family: the generator or file format it comes from, such as "division" or "sotopia".
        split: "train", "dev" or "test".
        context: the public scene, in prose.
        goals: each seat's private goal, in prose.
        briefs: each seat's private side in the line language of small models; may be empty strings.
        profiles: each seat's character.
        relationship: how well they know each other.
        task: what a program needs to check the goals; None where only a judge can.
    """

    id: str
    family: str
    split: str
    context: str
    goals: tuple[str, ...]
    briefs: tuple[str, ...]
    profiles: tuple[Profile, ...]
    relationship: Relationship
    task: Task | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What one seat may know of a scenario before the first turn.

    Attributes:
        partners: what is known of each other seat, in seat order, as far as the relationship
            allows (stranger nothing, then the name, then the public side, then all but the secret).
    """

    seat: int
    context: str
    goal: str
    brief: str
    profile: Profile
    partners: tuple[Profile | None, ...]
    relationship: Relationship
    verifiable: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """What one seat sees when it is to act: its view, the transcript, the turns that are left."""

    view: View
    turns: tuple[Turn, ...]
    turns_left: int


class EndReason(StrEnum):
    """Why an episode ended; TURN_LIMIT is a truncation; DEAL, LEFT and STALE are terminations.

    FAILED comes from outside the world: somebody behind an API gave no answer. Such an episode is
    kept as far as it went and is never scored.
    """

    DEAL = "deal"
    LEFT = "left"
    STALE = "stale"
    TURN_LIMIT = "turn limit"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Episode:
    """A finished episode as the world saw it: no models, no tokens, no scores.

    Attributes:
        end: why it ended.
        deal: what was agreed, None without an agreement or without a task.
    """

    scenario: Scenario
    turns: tuple[Turn, ...]
    end: EndReason
    deal: Deal | None
