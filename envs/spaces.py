"""Gymnasium spaces for actions and observations, and observations as values in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from gymnasium import spaces

from envs.actions import MAX_ACTION_CHARS, Codec
from envs.errors import ConfigError
from envs.types import Action, Observation, Profile

MAX_SAMPLE_CHARS: Final = 40
"""The longest random sample of a text space, so that random play stays fast."""

MAX_REPLY_CHARS: Final = 10 * MAX_ACTION_CHARS
"""The longest reply in the action space: an action with a private note before it."""

MAX_VIEW_CHARS: Final = 100_000
"""The longest goal, context or profile in the observation space."""

Observed = dict[str, Any]
"""An observation as the environments give it: texts by name, and the turn as a NumPy integer."""

_SAMPLE_ALPHABET: Final = (
    'abcdefghijklmnopqrstuvwxyz ABC0123456789.,?!{}":<>/\n\u00e9\u4e16\U0001f642'
)
# Enough for 'agent_12: ' and the longest action in the wordiest codec.
_LINE_OVERHEAD_CHARS: Final = 200


class Utf8Text(spaces.Space[str]):
    """The space of all texts of at most `max_chars` characters that UTF-8 can encode.

    Gymnasium's own text space lists its alphabet, which takes seconds for all of Unicode.

    Args:
        max_chars: longest text.
        examples: half of the samples are drawn from these, so that random play uses the rules.
    """

    def __init__(
        self,
        max_chars: int,
        examples: Sequence[str] = (),
        seed: int | np.random.Generator | None = None,
    ) -> None:
        if max_chars < 1:
            raise ConfigError(f"got max_chars={max_chars}, expected at least 1.")
        self.max_chars = max_chars
        self.examples = tuple(examples)
        super().__init__(shape=None, dtype=None, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        return False

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> str:
        """An example or a random text of 1 to `MAX_SAMPLE_CHARS` characters.

        Raises:
            ConfigError: got a mask or probabilities, which do not apply to texts.
        """
        if mask is not None or probability is not None:
            raise ConfigError("got a mask or a probability, expected none: texts have no masks.")
        if self.examples and self.np_random.random() < 0.5:
            return self.examples[int(self.np_random.integers(len(self.examples)))]
        count = int(self.np_random.integers(1, min(self.max_chars, MAX_SAMPLE_CHARS) + 1))
        picks = self.np_random.integers(0, len(_SAMPLE_ALPHABET), size=count)
        return "".join(_SAMPLE_ALPHABET[pick] for pick in picks)

    def contains(self, x: Any) -> bool:
        if not isinstance(x, str) or len(x) > self.max_chars:
            return False
        return x.isascii() or not any("\ud800" <= char <= "\udfff" for char in x)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Utf8Text) and other.max_chars == self.max_chars

    def __hash__(self) -> int:
        return hash((Utf8Text, self.max_chars))

    def __repr__(self) -> str:
        return f"Utf8Text({self.max_chars})"


def action_space(codec: Codec, examples: Sequence[Action]) -> Utf8Text:
    """The space of a model's replies; those that `codec` cannot read are invalid actions."""
    return Utf8Text(MAX_REPLY_CHARS, [codec.encode(action) for action in examples])


def observation_space(max_turns: int) -> spaces.Dict:
    """The space of `observed`. No key is `observation`, which confuses PettingZoo's tests."""
    texts = ("context", "goal", "brief", "profile", "partners")
    fields: dict[str, spaces.Space[Any]] = {key: Utf8Text(MAX_VIEW_CHARS) for key in texts}
    # JSON escapes may double a text; an argument is never longer than its action.
    fields["transcript"] = Utf8Text(max_turns * (2 * MAX_ACTION_CHARS + _LINE_OVERHEAD_CHARS))
    fields["turn"] = spaces.Discrete(max_turns + 1)
    return spaces.Dict(fields)


def observed(observation: Observation, codec: Codec) -> Observed:
    """`observation` as a value of `observation_space`.

    Returns:
        `turn` counts the turns so far; `transcript` has one line for each of them.
    """
    view = observation.view
    return {
        "context": view.context,
        "goal": view.goal,
        "brief": view.brief,
        "profile": profile_text(view.profile),
        "partners": "\n\n".join(map(profile_text, view.partners)),
        "transcript": transcript_text(observation, codec),
        "turn": np.int64(len(observation.turns)),
    }


def transcript_text(observation: Observation, codec: Codec) -> str:
    """One line a turn, such as "agent_0: say hello"."""
    return "\n".join(
        f"agent_{turn.seat}: {codec.encode(turn.action)}" for turn in observation.turns
    )


def profile_text(profile: Profile | None) -> str:
    """A profile with one `field: value` line for each known field; None is a stranger."""
    if profile is None:
        return "a stranger"
    lines = {
        "name": profile.name,
        "age": "" if profile.age is None else str(profile.age),
        "occupation": profile.occupation,
        "gender": profile.gender,
        "pronoun": profile.pronoun,
        "public info": profile.public_info,
        "big five": profile.big_five,
        "moral values": _listed(profile.moral_values),
        "personal values": _listed(profile.schwartz_personal_values),
        "personality": profile.personality_and_values,
        "decision making": profile.decision_making_style,
        "secret": profile.secret,
    }
    return "\n".join(f"{field}: {value}" for field, value in lines.items() if value)


def _listed(values: Iterable[str]) -> str:
    return ", ".join(values)
