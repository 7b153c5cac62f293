"""What a model that judges is shown of scenes, turns and branches, and under which labels."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

from envs.referee import goal_score
from envs.types import EndReason, Episode, Profile, Scenario, Turn
from judges.prompt_guard import clean

MAX_WORDS_CHARS: Final = 4_000
"""Longer turns are cut there, and it is said so."""

NO_CONTENT: Final = "says nothing"
"""What a program remarks beside words without any content."""

_OPENER: Final = re.compile(
    r"\W*(?:thought process|reasoning|analysis|solution|(?:final )?(?:answer|score|verdict)"
    r"|let(?:'|\u2019)?s (?:think|solve|reason)\b[^.:]{0,40}step by step)\W*",
    re.IGNORECASE,
)
"""Words that announce a thought and hold none; they fool judges (arXiv 2507.08794)."""

_ENDINGS: Final[Mapping[EndReason, str]] = {
    EndReason.DEAL: "the agents closed a deal",
    EndReason.LEFT: "an agent left",
    EndReason.STALE: "nobody did anything any more",
    EndReason.TURN_LIMIT: "the time was up",
    EndReason.FAILED: "it broke off for technical reasons",
}


def labels(seats: int, *, swapped: bool = False) -> tuple[str, ...]:
    """Neutral names in seat order: agent_A, agent_B ...; `swapped` deals them out in reverse."""
    names = tuple(f"agent_{chr(ord('A') + seat)}" for seat in range(seats))
    return names[::-1] if swapped else names


def drawn_labels(scenario: Scenario, sample: int = 0) -> tuple[str, ...]:
    """The agents' labels in seat order: drawn from the scenario, swapped in every other sample."""
    drawn = Random(f"labels/{scenario.id}").getrandbits(1)
    return labels(len(scenario.profiles), swapped=(drawn + sample) % 2 == 1)


def shown_scene(scenario: Scenario, names: Sequence[str]) -> dict[str, object]:
    """The scene with all private sides, as SOTOPIA's evaluator sees it; agents in label order."""
    agents = {
        name: {
            "name": shown_name(profile),
            "background": _background(profile),
            "secret": profile.secret,
            "private_goal": goal,
        }
        for name, profile, goal in zip(names, scenario.profiles, scenario.goals, strict=True)
    }
    return {
        "scene": scenario.context,
        "relationship": scenario.relationship.name.lower().replace("_", " "),
        "agents": {name: agents[name] for name in sorted(agents)},
    }


def shown_turns(turns: Sequence[Turn], names: Sequence[str]) -> list[dict[str, object]]:
    """The transcript, or any part of it: who did what in which turn."""
    return [_shown_turn(turn, names[turn.seat]) for turn in turns]


def shown_episode(episode: Episode, names: Sequence[str]) -> dict[str, object]:
    """Scene, transcript and ending: what a judge of one episode is to see."""
    return shown_scene(episode.scenario, names) | {
        "turns": shown_turns(episode.turns, names),
        "ending": shown_ending(episode),
    }


def shown_ending(episode: Episode) -> str:
    """How the episode ended, in words."""
    return _ENDINGS[episode.end]


def shown_name(profile: Profile) -> str:
    """A character's name as a judge reads it, and may have to repeat it."""
    return " ".join(clean(profile.name).split())


def shown_continuation(episode: Episode, turn: int, names: Sequence[str]) -> dict[str, object]:
    """The turns from `turn` on, how it ended and, where a program can tell, the goal scores.

    Args:
        names: the agents' labels, in seat order.
    """
    shown: dict[str, object] = {
        "turns": shown_turns(episode.turns[turn:], names),
        "ending": shown_ending(episode),
    }
    task = episode.scenario.task
    if task is not None:
        scores = {
            name: round(goal_score(task, seat, episode.deal), 1) for seat, name in enumerate(names)
        }
        shown["goal_scores"] = {name: scores[name] for name in sorted(scores)}
    return shown


def has_content(text: str) -> bool:
    """Whether words say anything: not mere punctuation, not the mere opening of a thought."""
    if _OPENER.fullmatch(text):
        return False
    return any(unicodedata.category(character)[0] not in "PZC" for character in text)


def _shown_turn(turn: Turn, name: str) -> dict[str, object]:
    shown: dict[str, object] = {
        "turn": turn.index,
        "agent": name,
        "does": turn.action.type.value,
    }
    argument = turn.action.argument
    if argument:
        words = clean(argument)
        shown["words"] = words[:MAX_WORDS_CHARS]
        if not has_content(words):
            shown["remark"] = NO_CONTENT
        elif len(words) > MAX_WORDS_CHARS:
            shown["remark"] = f"cut: it had {len(words)} characters"
    if turn.action.words:
        shown["says"] = clean(turn.action.words)[:MAX_WORDS_CHARS]
    return shown


def _background(profile: Profile) -> str:
    facts = (
        f"{profile.age} years old" if profile.age is not None else "",
        profile.occupation,
        profile.gender,
        profile.pronoun,
        profile.public_info,
        profile.big_five,
        ", ".join(profile.moral_values),
        ", ".join(profile.schwartz_personal_values),
        profile.personality_and_values,
        profile.decision_making_style,
    )
    return "; ".join(fact.strip().rstrip(".") for fact in facts if fact.strip())
