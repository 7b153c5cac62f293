"""The data types of scenarios and episodes, without behaviour of their own.

All are immutable. Seats are numbered from 0, and so are the turns of a transcript.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envs.scenarios.task import Task

Deal = tuple[int, ...]
"""A possible agreement, as numbers that its task defines (counts, a price, an option)."""


class ActionType(StrEnum):
    """SOTOPIA's five action types, by their names there (arXiv 2310.11667, section 2.2)."""

    NONE = "none"
    SPEAK = "speak"
    NON_VERBAL = "non-verbal communication"
    ACT = "action"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Action:
    """The action of one agent in one turn.

    Attributes:
        type: one of SOTOPIA's five types.
        argument: the words said, the gesture or the act; empty for NONE and LEAVE.
        invalid: why the agent's reply could not be carried out, None for a valid action. The type
            is then NONE, or SPEAK where words came with an act that the rules forbid: they are
            said all the same.
        words: what is said together with an act, such as "Twelve is fair." with `offer price=12`.
        near_miss: what the agent seems to have meant by its words but did not do, as a hint to
            it; the words are said, and nothing else happens.
    """

    type: ActionType
    argument: str = ""
    invalid: str | None = None
    words: str = ""
    near_miss: str | None = None

    @property
    def speech(self) -> str:
        """All that is said aloud, alone or together with an act; "" for nothing."""
        return self.argument if self.type is ActionType.SPEAK else self.words

    @property
    def text(self) -> str:
        """The argument and the words that come with it: all that the other side perceives."""
        return f"{self.argument} {self.words}".rstrip()


@dataclass(frozen=True, slots=True)
class Turn:
    """An action in a transcript: number `index`, taken by `seat`."""

    index: int
    seat: int
    action: Action


class Relationship(IntEnum):
    """How well two agents know each other, on SOTOPIA's scale."""

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
    """A situation with the private sides of all seats; agents see only a `View` of it.

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
    """What one seat may know of a scenario.

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
    """What one seat sees when it is to act: its view, the transcript, the number of turns left."""

    view: View
    turns: tuple[Turn, ...]
    turns_left: int


class EndReason(StrEnum):
    """Why an episode ended; TURN_LIMIT is a truncation; DEAL, LEFT and STALE are terminations.

    FAILED means that a player outside the process, such as a model behind an API, gave no answer.
    Such an episode is stored as far as it went and is never scored.
    """

    DEAL = "deal"
    LEFT = "left"
    STALE = "stale"
    TURN_LIMIT = "turn limit"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Episode:
    """A finished episode: its turns and outcome, without models, tokens or scores.

    Attributes:
        end: why it ended.
        deal: what was agreed, None without an agreement or without a task.
    """

    scenario: Scenario
    turns: tuple[Turn, ...]
    end: EndReason
    deal: Deal | None
