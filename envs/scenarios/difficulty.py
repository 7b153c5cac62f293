"""The difficulties of scenarios; each family defines what they mean for it."""

from __future__ import annotations

from enum import StrEnum


class Difficulty(StrEnum):
    """How hard the tasks of a family are; medium is the default."""

    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"
