"""What a model is told: a system message once, then one message per turn of the others.

Two styles: `brief` in the line language, for the small embedded policy; `full` in plain English
with SOTOPIA's JSON actions, for instruction-tuned models. A style only ever shows a `View` and the
transcript, so that it cannot leak what the seat may not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from envs.actions import CODECS, Codec
from envs.errors import ConfigError
from envs.types import ActionType, Profile, Turn, View

_FAR = 12
"""As many turns as this, or more, are told as this many: the end is out of sight."""


@dataclass(frozen=True, slots=True)
class PromptStyle:
    """How a seat's side of an episode is written for a model.

    Attributes:
        system: everything that holds for the whole episode.
        heard: the turns since the seat's last one, as one user message; "" for no message.
        clock: how many turns of the whole episode are left, this seat's own included.
        codec: how the model writes its own actions.
    """

    system: Callable[[View], str]
    heard: Callable[[View, Sequence[Turn]], str]
    clock: Callable[[int], str]
    codec: Codec

    def message(self, view: View, turns: Sequence[Turn], turns_left: int) -> str:
        """What the seat is told before a turn: what it heard and what time it is."""
        heard = self.heard(view, turns)
        return f"{heard}{self.clock(turns_left)}" if heard else ""


def _brief_system(view: View) -> str:
    if not view.brief:
        raise ConfigError(
            "The scenario has no brief in the line language, which prompt style 'brief' needs; "
            "set policy.prompt_style=full, or choose a family such as division."
        )
    return view.brief


def _brief_heard(view: View, turns: Sequence[Turn]) -> str:
    encode = CODECS["line"].encode
    return " ".join(encode(turn.action) for turn in turns)


def _brief_clock(turns_left: int) -> str:
    return f" left={min(turns_left, _FAR)}"


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
"leave" ends the conversation, "none" does nothing; the last two have an empty argument."""


def _describe(profile: Profile | None) -> str:
    if profile is None:
        return "a stranger, of whom you know nothing."
    facts = [
        profile.name,
        f"{profile.age} years old" if profile.age is not None else "",
        profile.occupation,
        profile.pronoun,
        profile.public_info,
        profile.big_five,
        ", ".join(profile.moral_values),
        ", ".join(profile.schwartz_personal_values),
        profile.personality_and_values,
        profile.decision_making_style,
    ]
    return "; ".join(fact.rstrip(".") for fact in facts if fact) + "."


def _secret(profile: Profile) -> str:
    return f" Your secret: {profile.secret}" if profile.secret else ""


_VERBS = {
    ActionType.NONE: "did nothing",
    ActionType.SPEAK: "said: {}",
    ActionType.NON_VERBAL: "[{}]",
    ActionType.ACT: "acted: {}",
    ActionType.LEAVE: "left",
}


def _full_heard(view: View, turns: Sequence[Turn]) -> str:
    if not turns:
        return "Begin."
    return "\n".join(
        f"The other {_VERBS[turn.action.type].format(turn.action.argument)}" for turn in turns
    )


STYLES: dict[str, PromptStyle] = {
    "brief": PromptStyle(_brief_system, _brief_heard, _brief_clock, CODECS["line"]),
    "full": PromptStyle(_full_system, _full_heard, "\n(Turns left: {})".format, CODECS["json"]),
}
