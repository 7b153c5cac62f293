"""docs/methods.md: every objective has a row, with the values of its file, and commands compose."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from training.cli import compose
from training.objectives import OBJECTIVES

TEXT = (Path(__file__).parents[3] / "docs" / "methods.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"`python -m training\.loop ([^`]+)`", TEXT)
ROWS = dict(re.findall(r"^\| `(\w+)` \|(.+)$", TEXT, flags=re.MULTILINE))


def test_every_objective_has_a_row() -> None:
    assert set(ROWS) == set(OBJECTIVES)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_compose(command: str) -> None:
    assert compose(command.split())


@pytest.mark.parametrize("option", ["beta", "eta", "gamma"])
def test_embedded_values_are_those_of_the_files(option: str) -> None:
    for name, row in ROWS.items():
        value = getattr(compose([f"objective={name}"]).objective, option)
        embedded = row.split("|")[3]
        stated = re.search(
            rf"\b{'g' if (name, option) == ('dmpo', 'gamma') else option} ([\d.]+)", embedded
        )
        if stated is not None:
            assert float(stated[1]) == value, name
        elif value is not None:
            assert embedded.strip() in ("the same",), name
