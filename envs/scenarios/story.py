"""The texts of a scenario: the public scene and each seat's private side."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Story:
    """The texts that tell a task to the players.

    Attributes:
        context: the public scene; `{a}` and `{b}` stand for the two first names.
        goals: each seat's private goal in prose.
        briefs: each seat's private side in the line language of small models.
    """

    context: str
    goals: tuple[str, str]
    briefs: tuple[str, str]
