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


def json_reply(view: View, acts: str | None = None) -> str:
    """The pattern of a reply in a scene: a private note or none, then one JSON object.

    Where a program checks the goals, the object may have an act beside the words, but not beside
    leaving.

    Args:
        acts: a pattern of the acts that are possible now; None if they are not known, so that any
            terms may be offered.
    """
    return _json_reply(rf"(?:{acts or _ACT})" if view.verifiable else None, bool(acts))


@lru_cache(maxsize=256)
def _json_reply(acts: str | None, is_known: bool) -> str:
    act = rf'(?:, "act": "{acts}")?' if acts else ""
    # An argument of type "action" is an act, too.
    said = tuple(type_ for type_ in _SAID if not (is_known and type_ is ActionType.ACT))
    forms = (
        rf'"(?:{"|".join(type_.value for type_ in said)})", "argument": "{_WORDS}"{act}',
        *((rf'"{ActionType.ACT.value}", "argument": "{acts}"',) if is_known else ()),
        rf'"{ActionType.LEAVE.value}", "argument": "(?:{_WORDS})?"',
        rf'"{ActionType.NONE.value}", "argument": "(?:{_WORDS})?"{act}',
    )
    return rf'{_NOTE}\{{"action_type": (?:{"|".join(forms)})\}}'
