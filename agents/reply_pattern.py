"""The pattern of a reply in SOTOPIA's JSON form, for engines that constrain what a model writes.

Whatever matches it is read by the JSON codec as a valid action. It is a regular expression in the
syntax that Python's `re` and llguidance share.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from envs.types import ActionType, View

MAX_NOTE_CHARS: Final = 200
MAX_ARGUMENT_CHARS: Final = 400
MAX_TERMS_CHARS: Final = 80

_MARKS = r"\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"
"""Control characters and bidirectional overrides, which the codec refuses."""
_SPACES = r"\x20\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_ESCAPE = r"\\[\x22\\]"
_WORD = rf"(?:[^\x22\\{_MARKS}{_SPACES}]|{_ESCAPE})"
"""A character that is no space: an argument begins with one, so that it is never blank."""
_ANY = rf"(?:[^\x22\\{_MARKS}]|{_ESCAPE})"

_NOTE = rf"(?:<think>[^<{_MARKS}]{{0,{MAX_NOTE_CHARS}}}</think> ?)?"
_WORDS = rf"{_WORD}{_ANY}{{0,{MAX_ARGUMENT_CHARS - 1}}}"
_ACT = rf"(?:accept|reject|offer [A-Za-z0-9=,;:.'-][A-Za-z0-9 =,;:.'-]{{0,{MAX_TERMS_CHARS - 1}}})"

_SAID = (ActionType.SPEAK, ActionType.NON_VERBAL, ActionType.ACT)


def json_reply(view: View) -> str:
    """The pattern of a reply in a scene: a private note or none, then one JSON object.

    Where a program checks the goals, the object may have an act beside the words, but not beside
    leaving.
    """
    return _json_reply(view.verifiable)


@lru_cache(maxsize=2)
def _json_reply(has_acts: bool) -> str:
    act = rf'(?:, "act": "{_ACT}")?' if has_acts else ""
    forms = (
        rf'"(?:{"|".join(type_.value for type_ in _SAID)})", "argument": "{_WORDS}"{act}',
        rf'"{ActionType.LEAVE.value}", "argument": "(?:{_WORDS})?"',
        rf'"{ActionType.NONE.value}", "argument": "(?:{_WORDS})?"{act}',
    )
    return rf'{_NOTE}\{{"action_type": (?:{"|".join(forms)})\}}'
