"""Reads Deal or No Deal's dialogues between people as episodes (arXiv 1706.05125).

    load_dealornodeal("path/to/val.txt")

A line is one dialogue from one side, YOU, which is seat 0; most dialogues are there twice, once
from each side. `<selection>` ends the talk: each side then enters, unseen by the other, who gets
what. Where both entered the same, the side that spoke `<selection>` offers it and the other
accepts. Otherwise nothing was agreed, both get 0 points and `<selection>` is leaving.
"""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Final

from envs.errors import DataError, quoted
from envs.referee import MOST_DEALS
from envs.scenarios.families.item_split import with_nash_aims
from envs.scenarios.human import HumanData, HumanEpisode, Remark, Reported, recorded_episode
from envs.scenarios.records import place, read_text
from envs.types import Action, ActionType, EndReason, Profile, Relationship, Scenario

ITEMS: Final = ("book", "hat", "ball")
_LINE: Final = re.compile(  # each field ends where its tag first does: nothing is tried twice
    r"<input> (?>(?P<input>.+?) </input> <dialogue> )(?>(?P<dialogue>.+?) </dialogue> <output> )"
    r"(?>(?P<output>.+?) </output> <partner_input> )(?P<partner>.+?) </partner_input>"
)
_CHOICE: Final = re.compile(r"item[012]=(\d{1,4})(?!\d)")
_SPEAKERS: Final = ("YOU", "THEM")
_NO_DEAL: Final = {
    "<disagree>": "the two entered different splits, which are not recorded; 0 points each",
    "<no_agreement>": "at least one side entered that there was no agreement; 0 points each",
    "<disconnect>": "one side lost its connection before entering a split; 0 points each",
}
_CONTEXT: Final = (
    "Two strangers divide {pool}.\nTo propose a split, act `offer you book=<n> hat=<n> ball=<n>`:"
    " what the other gets; you keep the rest. Act `accept` to close the deal on the other's offer,"
    " `reject` to turn it down. Without a deal nobody gets anything."
)


def load_dealornodeal(path: Path | str) -> HumanData:
    """Read the dialogues of one of the dataset's files; line n is number n - 1.

    Raises:
        DataError: a line is not as the dataset's are; names file, line and field.
    """
    file = Path(path)
    episodes, left_out, remarks = [], [], []
    for number, line in enumerate(read_text(file).rstrip("\n").split("\n"), start=1):
        name = f"dealornodeal/{file.stem}/{number - 1}"
        fields = _LINE.fullmatch(line.strip())
        if fields is None:
            raise DataError(
                f"{place(file, number)}: got {line[:60]!r}, expected the fields input, dialogue, "
                "output and partner_input in tags."
            )
        outcome = _episode(name, fields, place(file, number))
        if isinstance(outcome, Remark):
            left_out.append(outcome)
            continue
        episodes.append(outcome)
        if outcome.episode.deal is None:
            remarks.append(Remark(name, _NO_DEAL[fields["output"].split()[0]]))
    return HumanData(tuple(episodes), tuple(left_out), tuple(remarks))


def _episode(name: str, fields: re.Match[str], where: str) -> HumanEpisode | Remark:
    pool, own = _sides(fields["input"], "input", where)
    partner_pool, partner = _sides(fields["partner"], "partner_input", where)
    if pool != partner_pool:
        return Remark(name, f"the two sides see different pools, {pool} and {partner_pool}")
    taken = _taken(fields["output"], where)
    said = _said(fields["dialogue"], taken, where)
    end = EndReason.LEFT if taken is None else EndReason.DEAL
    episode = recorded_episode(_scenario(name, pool, (own, partner)), said, end)
    if isinstance(episode, str):
        return Remark(name, episode)
    first, second = taken or ((0, 0, 0), (0, 0, 0))
    return HumanEpisode(episode, (Reported(_worth(first, own)), Reported(_worth(second, partner))))


def _sides(text: str, field: str, where: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The number of each item, and the points of one of each."""
    words = text.split()
    is_whole = all(word.isdecimal() and len(word) <= 4 for word in words)
    numbers = tuple(map(int, words)) if is_whole else ()
    if len(numbers) != 2 * len(ITEMS) or prod(n + 1 for n in numbers[::2]) > MOST_DEALS:
        raise DataError(
            f"{where}, field {field!r}: got {quoted(text)}, expected six whole numbers, and items "
            f"in at most {MOST_DEALS:,} splits."
        )
    return numbers[::2], numbers[1::2]


def _taken(output: str, where: str) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The items that each side takes; None where nothing was agreed."""
    if output.split()[:1] and output.split()[0] in _NO_DEAL:
        return None
    counts = tuple(map(int, _CHOICE.findall(output)))
    if len(counts) != 2 * len(ITEMS):
        raise DataError(f"{where}, field 'output': got {quoted(output)}, expected six item=number.")
    return counts[: len(ITEMS)], counts[len(ITEMS) :]


def _said(
    dialogue: str, taken: tuple[tuple[int, ...], tuple[int, ...]] | None, where: str
) -> list[tuple[int, Action]]:
    said: list[tuple[int, Action]] = []
    for utterance in dialogue.split(" <eos> "):
        speaker, _, words = utterance.partition(": ")
        if speaker not in _SPEAKERS:
            raise DataError(
                f"{where}, field 'dialogue': got {utterance[:40]!r}, expected YOU or THEM."
            )
        seat = _SPEAKERS.index(speaker)
        if words != "<selection>":
            said.append((seat, Action(ActionType.SPEAK, words)))
        elif taken is None:
            said.append((seat, Action(ActionType.LEAVE)))
        else:
            counts = " ".join(f"{i}={n}" for i, n in zip(ITEMS, taken[1 - seat], strict=True))
            said.append((seat, Action(ActionType.ACT, f"offer you {counts}")))
            said.append((1 - seat, Action(ActionType.ACT, "accept")))
    return said


def _worth(counts: tuple[int, ...], values: tuple[int, ...]) -> float:
    return float(sum(n * value for n, value in zip(counts, values, strict=True)))


def _scenario(
    name: str, pool: tuple[int, ...], values: tuple[tuple[int, ...], tuple[int, ...]]
) -> Scenario:
    things = ", ".join(f"{n} {i}{'s' if n != 1 else ''}" for n, i in zip(pool, ITEMS, strict=True))
    stem = name.split("/")[1]
    task = with_nash_aims(ITEMS, pool, values)
    # Where no split gives both points, the Nash solution gives one side 0, which is no aim.
    task = replace(task, aims=(max(1.0, task.aims[0]), max(1.0, task.aims[1])))
    return Scenario(
        id=name,
        family="dealornodeal",
        split={"val": "dev", "test": "test"}.get(stem, "train"),
        context=_CONTEXT.replace("{pool}", things),
        goals=(_goal(values[0]), _goal(values[1])),
        briefs=("", ""),
        profiles=(Profile("Player", "One"), Profile("Player", "Two")),
        relationship=Relationship.STRANGER,
        task=task,
    )


def _goal(values: tuple[int, ...]) -> str:
    worth = ", ".join(f"a {item} is worth {v}" for item, v in zip(ITEMS, values, strict=True))
    return f"Get as many points as you can. To you {worth} points."
