"""Reads CaSiNo's camp-site negotiations between people as episodes (arXiv 2103.15721).

    load_casino("path/to/casino_train.json")

Each side has a high, a medium and a low priority among three packages of food, water and firewood
each, worth 5, 4 and 3 points. Whoever walks away leaves both with 5 points, the worth of one
package of the highest priority.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, field_validator

from envs.errors import in_one_line
from envs.referee import attainable, utilities
from envs.scenarios.families.item_split import SplitTask
from envs.scenarios.human import HumanData, HumanEpisode, Remark, Reported, recorded_episode
from envs.scenarios.records import Strict, read_json_list
from envs.types import Action, ActionType, EndReason, Profile, Relationship, Scenario

ITEMS: Final = ("food", "water", "firewood")
POOL: Final = (3, 3, 3)
POINTS: Final = {"High": 5, "Medium": 4, "Low": 3}
WALK_AWAY_POINTS: Final = 5.0

Priority = Literal["High", "Medium", "Low"]
Issue = Literal["Food", "Water", "Firewood"]
Speaker = Literal["mturk_agent_1", "mturk_agent_2"]
_SPEAKERS: Final[tuple[Speaker, Speaker]] = ("mturk_agent_1", "mturk_agent_2")
_CONTEXT: Final = (
    "Two campers who have never met divide extra supplies for their trip: 3 packages each of food,"
    " water and firewood.\nTo propose a split, act `offer you food=<n> water=<n> firewood=<n>`:"
    " what the other gets; you keep the rest. Act `accept` to close the deal on the other's offer,"
    " `reject` to turn it down. Whoever leaves ends the talk, and both get 5 points."
)


@dataclass(frozen=True, slots=True)
class CasinoTask(SplitTask):
    """A split in which seats get points also without a deal."""

    def no_deal(self, seat: int) -> float:
        return WALK_AWAY_POINTS


class Message(Strict):
    """A message of the chat: words, or one of four acts with its data."""

    text: str
    task_data: dict[str, Any]
    id: Speaker


class Outcomes(Strict):
    """A participant's points, and its answers about them afterwards."""

    points_scored: int
    satisfaction: str
    opponent_likeness: str


class Participant(Strict):
    """One side of a negotiation: its priorities, their reasons, and its outcome."""

    value2issue: dict[Priority, Issue]
    value2reason: dict[Priority, str]
    outcomes: Outcomes
    personality: dict[str, Any] = Field(default_factory=dict)
    demographics: dict[str, Any] = Field(default_factory=dict)

    @field_validator("value2issue")
    @classmethod
    def _each_once(cls, value: dict[Priority, Issue]) -> dict[Priority, Issue]:
        if len(value) != len(POINTS) or len(set(value.values())) != len(ITEMS):
            raise ValueError("three priorities and three issues must be matched one to one")
        return value

    @field_validator("value2reason")
    @classmethod
    def _all_told(cls, value: dict[Priority, str]) -> dict[Priority, str]:
        if len(value) != len(POINTS):
            raise ValueError("each of the three priorities needs a reason")
        return value


class Dialogue(Strict):
    """A negotiation with both participants."""

    dialogue_id: int
    chat_logs: tuple[Message, ...] = Field(min_length=1)
    participant_info: dict[Speaker, Participant] = Field(min_length=2)
    annotations: tuple[Any, ...] = ()


def load_casino(path: Path | str) -> HumanData:
    """Read the negotiations of one of CaSiNo's files, in its order.

    Raises:
        DataError: the file is not as CaSiNo's are; names file, entry and field.
    """
    file = Path(path)
    episodes, left_out = [], []
    for dialogue in read_json_list(file, Dialogue):
        outcome = _episode(dialogue, file.stem)
        if isinstance(outcome, Remark):
            left_out.append(outcome)
        else:
            episodes.append(outcome)
    return HumanData(tuple(episodes), tuple(left_out))


def _episode(dialogue: Dialogue, stem: str) -> HumanEpisode | Remark:
    name = f"casino/{stem}/{dialogue.dialogue_id}"
    sides = tuple(dialogue.participant_info[speaker] for speaker in _SPEAKERS)
    try:
        said = [(_SPEAKERS.index(message.id), _action(message)) for message in dialogue.chat_logs]
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        return Remark(name, f"has an act that cannot be read: {in_one_line(error)}")
    walked = said[-1][1].type is ActionType.LEAVE
    end = EndReason.LEFT if walked else EndReason.DEAL
    episode = recorded_episode(_scenario(name, stem, sides), said, end)
    if isinstance(episode, str):
        return Remark(name, episode)
    first, second = (
        Reported(o.points_scored, o.satisfaction, o.opponent_likeness)
        for o in (side.outcomes for side in sides)
    )
    return HumanEpisode(episode, (first, second))


def _action(message: Message) -> Action:
    """The message as an action; words that only look like an act are speech."""
    match message.text, message.task_data:
        case "Submit-Deal", {"issue2youget": mine, "issue2theyget": theirs}:
            for item, count in zip(ITEMS, POOL, strict=True):
                issue = item.capitalize()
                if int(mine[issue]) + int(theirs[issue]) != count:
                    raise ValueError(f"{mine[issue]} and {theirs[issue]} {item} of {count}")
            counts = " ".join(f"{item}={int(theirs[item.capitalize()])}" for item in ITEMS)
            return Action(ActionType.ACT, f"offer you {counts}")
        case "Accept-Deal", {"data": "accept_deal"}:
            return Action(ActionType.ACT, "accept")
        case "Reject-Deal", {"data": "reject_deal"}:
            return Action(ActionType.ACT, "reject")
        case "Walk-Away", {"data": "walk_away"}:
            return Action(ActionType.LEAVE)
    return Action(ActionType.SPEAK, " ".join(message.text.split()))


def _scenario(name: str, stem: str, sides: tuple[Participant, ...]) -> Scenario:
    first, second = (_values(side) for side in sides)
    task = CasinoTask((1.0, 1.0), ITEMS, POOL, (first, second))
    task = replace(task, aims=utilities(task, attainable(task).nash_deal))
    return Scenario(
        id=name,
        family="casino",
        split="dev" if "valid" in stem else "test" if "test" in stem else "train",
        context=_CONTEXT,
        goals=tuple(_goal(side) for side in sides),
        briefs=("", ""),
        profiles=(Profile("Camper", "One"), Profile("Camper", "Two")),
        relationship=Relationship.STRANGER,
        task=task,
    )


def _values(side: Participant) -> tuple[int, ...]:
    worth = {issue.lower(): POINTS[priority] for priority, issue in side.value2issue.items()}
    return tuple(worth[item] for item in ITEMS)


def _goal(side: Participant) -> str:
    wants = " ".join(
        f"A package of {issue.lower()} is worth {POINTS[priority]} points to you:"
        f' "{" ".join(side.value2reason[priority].split())}"'
        for priority, issue in side.value2issue.items()
    )
    return f"Get as many points as you can. {wants}"
