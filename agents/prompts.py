"""The prompts of players: a system message, then one user message before each turn.

There are two styles: `brief` in the line language, for the small embedded policy, and `full` in
plain English with SOTOPIA's JSON actions, for instruction-tuned models. A style is given a `View`
and the transcript only, so that it cannot leak what the seat may not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from agents.reply_pattern import json_reply
from envs.actions import CODECS, Codec, JsonCodec
from envs.errors import ConfigError
from envs.scenarios.task import Task
from envs.types import Action, ActionType, Deal, Profile, Turn, View

Profiles = Literal["full", "names"]
"""What a prompt in plain English tells of the characters."""

_NOTE_RANGE = (-20, 60)
"""Numbers beyond are shown as these in the brief style, which has one token for each number."""
_MOST_TURNS_LEFT = 12
"""The brief style shows larger numbers of turns left as this one."""


@dataclass(frozen=True, slots=True)
class PromptStyle:
    """How one seat's side of an episode is written for a model.

    Attributes:
        system: the system message, which holds for the whole episode.
        new_turns: the others' turns since the seat's last one, as text; "" for no message.
        clock: says how many turns of the whole episode are left, this seat's own included.
        codec: how the model writes its own actions.
        schema: the JSON schema of what the codec reads in a scene, where that is JSON.
        notice: tells the seat what its last own action did not do: why it was not carried out, or
            which act its words lacked; "" where there is nothing to tell or the style leaves it
            out.
        account: writes the private calculation of what an offer is worth to a seat, as text.
        speaks: whether scripted experts say something with their acts.
        pattern: a regular expression whose every match the codec reads as a valid action, for
            engines that constrain replies, from the view and a pattern of the acts that are
            possible now (None: not known); None where the style has none.
    """

    system: Callable[[View], str]
    new_turns: Callable[[View, Sequence[Turn]], str]
    clock: Callable[[int], str]
    codec: Codec
    account: Callable[[Task, int, Deal], str]
    schema: Callable[[View], dict[str, Any] | None] = lambda view: None
    notice: Callable[[Action], str] = lambda action: ""
    speaks: bool = False
    pattern: Callable[[View, str | None], str] | None = None

    def message(
        self, view: View, turns: Sequence[Turn], turns_left: int, last: Action | None = None
    ) -> str:
        """The user message before a turn: the others' new turns, and the turns that are left.

        Args:
            last: the seat's own last action, of which it is told what went wrong.
        """
        text = self.new_turns(view, turns)
        told = self.notice(last) if last is not None else ""
        return f"{told}{text}{self.clock(turns_left)}" if text else ""


def idle_turn(view: View) -> Turn:
    """The turn that is shown between two own turns in a row: the other did nothing."""
    return Turn(0, 1 - view.seat, Action(ActionType.NONE))


def _brief_system(view: View) -> str:
    if not view.brief:
        raise ConfigError(
            "The scenario has no brief in the line language, which prompt style 'brief' needs; "
            "set policy.prompt_style=full, or choose a family such as division."
        )
    return view.brief


def _brief_turns(view: View, turns: Sequence[Turn]) -> str:
    encode = CODECS["line"].encode
    return " ".join(encode(turn.action) for turn in turns)


def _brief_clock(turns_left: int) -> str:
    return f" left={min(turns_left, _MOST_TURNS_LEFT)}"


def _full_system(view: View, profiles: Profiles = "full") -> str:
    # What all scenes share comes first: prompts with one beginning are encoded once.
    return f"""\
Play a person in a social situation with somebody else. Stay in character and reach your goal.

Answer each turn with one JSON object: {{"action_type": "speak", "argument": "what you say"}}. \
Other types are "non-verbal communication" and "action", whose argument describes it, "leave", \
which ends the conversation, and "none".{_ACTS if view.verifiable else ""}

Situation: {view.context}
{_who(view, profiles)}
Your goal, which the other does not know: {view.goal}"""


_ACTS = """
To act, add it: {"action_type": "speak", "argument": "That is fair.", "act": "accept"}. An act has \
the very words that the situation names, with numbers or names in place of <...>. Only acts make, \
accept or turn down an offer; words bind nobody. A new offer replaces the one before it. Accepting \
ends the conversation.\
"""


def _who(view: View, profiles: Profiles) -> str:
    if profiles == "names":
        return f"You: {view.profile.name}."
    partners = "\n".join(_describe(partner) for partner in view.partners)
    return f"You: {_describe(view.profile)}{_secret(view.profile)}\nThe other: {partners}"


ACTION_TYPES = (
    ActionType.SPEAK,
    ActionType.NON_VERBAL,
    ActionType.ACT,
    ActionType.LEAVE,
    ActionType.NONE,
)
"""The types in the order in which they are shown: small models tend to choose the first."""


def _full_schema(view: View) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "action_type": {"type": "string", "enum": [type_.value for type_ in ACTION_TYPES]},
        "argument": {"type": "string"},
    }
    if view.verifiable:
        about = "offer <terms>, accept or reject, as the situation says; empty for none"
        properties["act"] = {"type": "string", "description": about}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _describe(profile: Profile | None) -> str:
    if profile is None:
        return "a stranger, of whom you know nothing."
    return known_facts(
        profile,
        profile.pronoun,
        profile.public_info,
        profile.big_five,
        ", ".join(profile.moral_values),
        ", ".join(profile.schwartz_personal_values),
        profile.personality_and_values,
        profile.decision_making_style,
    )


def known_facts(profile: Profile, *more: str) -> str:
    """A character's name, age, occupation and more, as far as they are known, on one line."""
    age = f"{profile.age} years old" if profile.age is not None else ""
    facts = (profile.name, age, profile.occupation, *more)
    return "; ".join(fact.rstrip(".") for fact in facts if fact) + "."


def _secret(profile: Profile) -> str:
    return f" Your secret: {profile.secret}" if profile.secret else ""


VERBS = {
    ActionType.NONE: "did nothing",
    ActionType.SPEAK: "said: {}",
    ActionType.NON_VERBAL: "[{}]",
    ActionType.ACT: "acted: {}",
    ActionType.LEAVE: "left",
}
"""Plain English for each type of action; "{}" stands for its argument."""


def told(action: Action) -> str:
    """What somebody did, in plain English, to follow a name: "said: Twelve? / acted: accept"."""
    said = f"{VERBS[ActionType.SPEAK].format(action.words)} / " if action.words else ""
    return said + VERBS[action.type].format(action.argument)


def _full_turns(view: View, turns: Sequence[Turn]) -> str:
    if not turns:
        return "Begin."
    return "\n".join(f"The other {told(turn.action)}" for turn in turns)


def _full_notice(last: Action) -> str:
    if last.invalid is not None:
        return f"(Your last answer was not carried out: {last.invalid})\n"
    return f"(Mind that {last.near_miss})\n" if last.near_miss is not None else ""


def _brief_account(task: Task, seat: int, deal: Deal) -> str:
    steps = task.appraise(seat, deal)
    gap = steps[-1] - round(task.aims[seat])
    low, high = _NOTE_RANGE
    return f" {' '.join(str(min(high, max(low, n))) for n in (*steps, gap))} "


def _full_account(task: Task, seat: int, deal: Deal) -> str:
    aim = round(task.aims[seat])
    gap = round(task.apparent_worth(seat, deal)) - aim
    verdict = "enough" if gap == 0 else f"{abs(gap)} {'over' if gap > 0 else 'short'}"
    return f"{task.account(seat, deal)}; I want {aim}: {verdict}."


STYLES: dict[str, PromptStyle] = {
    "brief": PromptStyle(_brief_system, _brief_turns, _brief_clock, CODECS["line"], _brief_account),
    "full": PromptStyle(
        _full_system,
        _full_turns,
        "\n(Turns left: {})".format,
        JsonCodec(prose_is_speech=True),
        _full_account,
        schema=_full_schema,
        notice=_full_notice,
        speaks=True,
        pattern=json_reply,
    ),
}


def style_of(
    name: str, *, prose_is_speech: bool = True, profiles: Profiles = "full"
) -> PromptStyle:
    """The prompt style with that name.

    Args:
        prose_is_speech: whether a reply without JSON is speech, where the style asks for JSON;
            else it is an invalid action.
        profiles: what a prompt in style "full" tells of the characters: all that the seat may know
            of both, its own secret included, or its own name alone.
    """
    style = STYLES[name]
    if isinstance(style.codec, JsonCodec):
        return replace(
            style,
            system=partial(_full_system, profiles=profiles),
            codec=JsonCodec(prose_is_speech=prose_is_speech),
        )
    return style
