"""The prompts of players: a system message, then one user message before each turn.

There are two styles: `brief` in the line language, for the small embedded policy, and `full` in
plain English with SOTOPIA's JSON actions, for instruction-tuned models. A style is given a `View`
and the transcript only, so that it cannot leak what the seat may not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from envs.actions import CODECS, Codec
from envs.errors import ConfigError
from envs.types import Action, ActionType, Profile, Turn, View

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
        schema: the JSON schema of what the codec reads, where that is JSON.
        rejection: says why the seat's last turn was not carried out; "" where the style leaves
            that out.
    """

    system: Callable[[View], str]
    new_turns: Callable[[View, Sequence[Turn]], str]
    clock: Callable[[int], str]
    codec: Codec
    schema: dict[str, Any] | None = None
    rejection: Callable[[str], str] = lambda reason: ""

    def message(self, view: View, turns: Sequence[Turn], turns_left: int) -> str:
        """The user message before a turn: the others' new turns, and the turns that are left."""
        text = self.new_turns(view, turns)
        return f"{text}{self.clock(turns_left)}" if text else ""


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


def _full_system(view: View) -> str:
    partners = "\n".join(_describe(partner) for partner in view.partners)
    return f"""\
You are {view.profile.name} in a social situation with somebody else. Stay in character and reach \
your goal.

Situation: {view.context}
You: {_describe(view.profile)}{_secret(view.profile)}
The other: {partners}
Your goal, which the other does not know: {view.goal}

At each turn answer with one JSON object and nothing else:
{{"action_type": "none" | "speak" | "non-verbal communication" | "action" | "leave", \
"argument": "..."}}
"speak" says the argument aloud, "non-verbal communication" and "action" do what it describes, \
"leave" ends the conversation, "none" does nothing; the last two have an empty argument.\
{_ACTS if view.verifiable else ""}"""


_ACTS = """

What the situation says to act is an "action" whose argument is those very words and no others, \
with numbers or names in place of <...>, for example {"action_type": "action", "argument": \
"accept"}. Only such acts make, accept or turn down an offer: what is merely said binds nobody. \
A new offer replaces the one before it. Accepting ends the conversation.\
"""

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "action_type": {"type": "string", "enum": [type_.value for type_ in ActionType]},
        "argument": {"type": "string"},
    },
    "required": ["action_type", "argument"],
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


def _full_turns(view: View, turns: Sequence[Turn]) -> str:
    if not turns:
        return "Begin."
    return "\n".join(
        f"The other {VERBS[turn.action.type].format(turn.action.argument)}" for turn in turns
    )


STYLES: dict[str, PromptStyle] = {
    "brief": PromptStyle(_brief_system, _brief_turns, _brief_clock, CODECS["line"]),
    "full": PromptStyle(
        _full_system,
        _full_turns,
        "\n(Turns left: {})".format,
        CODECS["json"],
        _SCHEMA,
        "(Your last answer was not carried out: {})\n".format,
    ),
}
