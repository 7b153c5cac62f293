"""How hard a family's tasks are; what that means in each family is written in the family."""

from __future__ import annotations

from enum import StrEnum


class Difficulty(StrEnum):
    """Three settings of each family; the middle one is the setting unless another is chosen."""

    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"
