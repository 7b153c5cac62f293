"""A Griffe extension: brackets in docstrings stay brackets.

Docstrings are plain text with names in backticks. Markdown would read `P[k][j]` without them as a
link to a page that is called j.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

QUOTED_OR_BRACKET = re.compile(r"`[^`]*`|\[")


class PlainBrackets(griffe.Extension):
    """Escapes brackets outside of backticks."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring in place."""
        if obj.docstring:
            obj.docstring.value = QUOTED_OR_BRACKET.sub(_escaped, obj.docstring.value)


def _escaped(found: re.Match[str]) -> str:
    return "\\[" if found[0] == "[" else found[0]
