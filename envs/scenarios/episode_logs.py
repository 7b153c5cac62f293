"""Reads SOTOPIA's episode logs: dialogues of two agents in its scenes, with their scores.

A log's messages are (sender, receiver, text), a list for each turn. In the first the environment
tells each agent the scene, the characters as far as it knows them, and its own goal. Logs are read
as SOTOPIA keeps them (`messages`, `agents` ...) and as it publishes them (`raw_messages`,
`agent_ids` ..., with the goals beside them).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import AliasChoices, ConfigDict, Field, field_validator, model_validator

from envs.actions import JsonCodec
from envs.errors import DataError
from envs.scenarios.likeness import is_benchmark_text
from envs.scenarios.markup import check_markup, seen_by, seen_by_all
from envs.scenarios.records import Id, Strict, parsed
from envs.types import Action, ActionType, Profile, Relationship, Scenario, Turn

_ENVIRONMENT: Final = "Environment"
_UNKNOWN: Final = "Unknown"
_GOAL: Final = "goal"
_CODEC: Final = JsonCodec()

_DID: Final = re.compile(
    r"(?>\[private to \[.*?\]\]\s*)?"
    r"(?:(?P<none>did nothing)|(?P<leave>left the conversation)|said:\s*\"(?P<speak>.*)\""
    r"|\[non-verbal communication\]\s*(?P<gesture>.*)|\[action\]\s*(?P<act>.*))",
    re.DOTALL,
)
_TYPES: Final = {
    "none": ActionType.NONE,
    "leave": ActionType.LEAVE,
    "speak": ActionType.SPEAK,
    "gesture": ActionType.NON_VERBAL,
    "act": ActionType.ACT,
}
_TRAITS: Final = "Personality and values description:"
_BIOGRAPHY: Final = re.compile(
    r"\s+is an? (?P<age>\d{1,3})-year-old\s+(?:(?P<gender>male|female|nonbinary)\s+)?"
    # Each part ends where its mark first stands, and is not tried again: in linear time.
    r"(?>(?P<occupation>.*?)\. (?P<pronoun>[\w/]+) pronouns\.)"
    rf"(?>(?P<public_info>.*?){re.escape(_TRAITS)})"
    r"(?>(?P<personality_and_values>.*?)(?<![^\s.])[^\s.]+?'s secrets:)(?P<secret>.*)",
    re.DOTALL,
)
_GENDERS: Final = {"male": "Man", "female": "Woman", "nonbinary": "Nonbinary"}


class EpisodeLog(Strict):
    """A log; what is not read here, such as the judge's prompt, is left out.

    Attributes:
        rewards: for each agent its overall score and those by dimension; a number alone where
            nobody scored it.
        scenario, social_goals: the scene, and each agent's goal by its name; published logs alone.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    log_id: str | None = Field(None, validation_alias=AliasChoices("pk", "episode_id"))
    environment: Id = Field(validation_alias=AliasChoices("environment", "environment_id"))
    agents: tuple[Id, ...] = Field(
        min_length=2, validation_alias=AliasChoices("agents", "agent_ids")
    )
    messages: tuple[tuple[tuple[str, str, str], ...], ...] = Field(
        min_length=1, validation_alias=AliasChoices("messages", "raw_messages")
    )
    rewards: tuple[tuple[float, dict[str, float]] | float, ...] = Field(
        validation_alias=AliasChoices("rewards", "raw_rewards")
    )
    scenario: str = ""
    social_goals: dict[str, str] = Field(default_factory=dict)

    @field_validator("scenario")
    @classmethod
    def _scene_markup(cls, value: str) -> str:
        return check_markup(value)

    @field_validator("social_goals")
    @classmethod
    def _goal_markup(cls, value: dict[str, str]) -> dict[str, str]:
        return {name: check_markup(goal) for name, goal in value.items()}

    @model_validator(mode="after")
    def _all_rewarded(self) -> EpisodeLog:
        if len(self.rewards) != len(self.agents):
            raise ValueError(f"{len(self.rewards)} rewards for {len(self.agents)} agents")
        if not all(goal is None or 0 <= goal <= 10 for goal in self.goals_reached):
            raise ValueError(f"the scores of the goals are {self.goals_reached}, expected 0 to 10")
        return self

    @property
    def goals_reached(self) -> tuple[float | None, ...]:
        """Each agent's score of its goal, 0 to 10; None where nobody scored it."""
        return tuple(
            None if isinstance(reward, float) else reward[1].get(_GOAL) for reward in self.rewards
        )


@dataclass(frozen=True, slots=True)
class LoggedDialogue:
    """A dialogue of a log.

    Attributes:
        scenario: of the split "test" where the scene is one of SOTOPIA's benchmark, else "train".
        goals: how far each seat reached its goal, 0 to 10; None where nobody scored it.
    """

    scenario: Scenario
    turns: tuple[Turn, ...]
    goals: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class EpisodeLogs:
    """The logs of a file.

    Attributes:
        read: how many there were.
        left_out: those that give no dialogue, by the reason.
    """

    read: int
    dialogues: tuple[LoggedDialogue, ...]
    left_out: Counter[str]


def is_episode_log(values: object) -> bool:
    """Whether a record of a file looks like a log."""
    return isinstance(values, dict) and not {"environment", "environment_id"}.isdisjoint(values)


def read_episode_logs(records: Iterable[tuple[str, object]]) -> EpisodeLogs:
    """The dialogues of logs.

    Args:
        records: where each record stands, for messages, and what was read there.

    Raises:
        DataError: a record is no log, or a message no action; names where and which field.
    """
    dialogues, left_out = list[LoggedDialogue](), Counter[str]()
    for where, values in records:
        found = _dialogue(parsed(values, EpisodeLog, where), where)
        if isinstance(found, str):
            left_out[found] += 1
        else:
            dialogues.append(found)
    return EpisodeLogs(len(dialogues) + left_out.total(), tuple(dialogues), left_out)


def _dialogue(log: EpisodeLog, where: str) -> LoggedDialogue | str:
    """The dialogue of a log, or the reason why it gives none."""
    if len(log.agents) != 2:
        return "had more than two agents"
    names = _names(log)
    if len(names) != 2:
        return "did not name both agents"
    told = [_told(log, name, names) for name in names]
    if any(told[seat].get(f"{names[1 - seat]}'s goal") for seat in (0, 1)):
        return "told an agent the other's goal"
    turns = _turns(log, names, where)
    if isinstance(turns, str):
        return turns
    scenes = {part["Scenario"] for part in told if part.get("Scenario")}
    if len(scenes) > 1:
        return "told the agents different scenes"
    context = next(iter(scenes), seen_by_all(log.scenario))
    goals = tuple(
        told[seat].get(f"{name}'s goal") or seen_by(log.social_goals.get(name, ""), seat)
        for seat, name in enumerate(names)
    )
    if not context or not all(goals):
        return "did not show the scene and both goals"
    is_held_out = is_benchmark_text("\n".join((context, *goals)), context)
    scenario = Scenario(
        id=f"sotopia/log/{log.environment}/{log.log_id or where}",
        family="sotopia",
        split="test" if is_held_out else "train",
        context=context,
        goals=goals,
        briefs=("", ""),
        profiles=tuple(
            _profile(name, told[seat].get(f"{name}'s background", ""))
            for seat, name in enumerate(names)
        ),
        relationship=min(
            _relationship(told[seat].get(f"{names[1 - seat]}'s background", "")) for seat in (0, 1)
        ),
    )
    return LoggedDialogue(scenario, turns, log.goals_reached)


def _names(log: EpisodeLog) -> tuple[str, ...]:
    """The agents' names in seat order: whom the environment told the scene."""
    told = [receiver for sender, receiver, _ in log.messages[0] if sender == _ENVIRONMENT]
    return tuple(dict.fromkeys(name for name in told if name != _ENVIRONMENT))


def _told(log: EpisodeLog, name: str, names: Sequence[str]) -> Mapping[str, str]:
    """What the environment told an agent before the first turn, by its heading."""
    text = next(
        said
        for sender, receiver, said in log.messages[0]
        if (sender, receiver) == (_ENVIRONMENT, name)
    )
    whose = [f"{one}'s {what}" for one in names for what in ("background", "goal")]
    headings = "|".join(map(re.escape, ("Scenario", "Participants", *whose, "Conversation Starts")))
    found = list(re.finditer(rf"^[ \t]*({headings}):", text, re.MULTILINE))
    ends = [*(heading.start() for heading in found[1:]), len(text)]
    parts: dict[str, str] = {}
    for heading, end in zip(found, ends[: len(found)], strict=True):
        words = " ".join(text[heading.end() : end].split())
        parts.setdefault(heading[1], "" if words == _UNKNOWN else words)
    return parts


def _profile(name: str, biography: str) -> Profile:
    """A character as it was told about itself; text of another form stays whole, and private."""
    first, _, last = name.partition(" ")
    known = _BIOGRAPHY.fullmatch(biography.removeprefix(name))
    if known is None:
        return Profile(first, last, secret=biography)
    fields: dict[str, Any] = {
        key: (value or "").strip() for key, value in known.groupdict().items()
    }
    age, gender = int(fields.pop("age")), _GENDERS.get(fields.pop("gender"), "")
    return Profile(first, last, age=age, gender=gender, **fields)


def _relationship(other: str) -> Relationship:
    """How well an agent knows the other, by what it was told; both names are always told."""
    if _TRAITS in other:
        return Relationship.FRIEND
    return Relationship.ACQUAINTANCE if "-year-old" in other else Relationship.KNOW_BY_NAME


def _turns(log: EpisodeLog, names: Sequence[str], where: str) -> tuple[Turn, ...] | str:
    """The turns, without those in which an agent had to wait; or why they cannot be had."""
    turns: list[Turn] = []
    for round_, messages in enumerate(log.messages):
        acts = [
            (names.index(sender), _action(text, f"{where}, field 'messages.{round_}'"))
            for sender, receiver, text in messages
            if sender in names and receiver == _ENVIRONMENT
        ]
        moved = [act for act in acts if act[1] != Action(ActionType.NONE)]
        if len(moved) > 1:
            return "had turns in which both acted at once"
        if acts and not moved:  # who could act did nothing
            moved = [(1 - turns[-1].seat if turns else 0, Action(ActionType.NONE))]
        turns += [Turn(len(turns), seat, action) for seat, action in moved]
    return tuple(turns) if turns else "had no turn"


def _action(text: str, where: str) -> Action:
    """The action of a message, as a model here would have written it; empty words are invalid."""
    found = _DID.fullmatch(text.strip())
    if found is None or found.lastgroup is None:
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise DataError(
            f"{where}: got {shown!r}, expected 'said: \"...\"', '[action] ...', "
            "'[non-verbal communication] ...', 'did nothing' or 'left the conversation'."
        )
    kind = found.lastgroup
    argument = "" if kind in ("none", "leave") else found[kind]
    return _CODEC.decode(_CODEC.encode(Action(_TYPES[kind], argument)))
