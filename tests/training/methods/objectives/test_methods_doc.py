"""docs/methods.md: every objective has a row, with the values of its file, and commands compose."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from training.cli.compose import compose, groups
from training.methods.objectives import OBJECTIVES

TEXT = (Path(__file__).parents[4] / "docs" / "methods.md").read_text(encoding="utf-8")
OBJECTIVES_TEXT, METHODS_TEXT = TEXT.split("## Methods\n")
COMMANDS = [
    command
    for command in re.findall(r"`python -m training\.loop ([^`]+)`", TEXT)
    if not command.startswith("--multirun")
]
ROWS = dict(re.findall(r"^\| `(\w+)` \|(.+)$", OBJECTIVES_TEXT, flags=re.MULTILINE))


def test_every_objective_has_a_row() -> None:
    assert set(ROWS) == set(OBJECTIVES)


def test_every_experiment_is_in_the_table_of_methods() -> None:
    cells = re.findall(r"^\| (`[^|]+) \|", METHODS_TEXT, flags=re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    there = {name.removeprefix("sotopia_") for name in groups()["experiment"]}
    lengths = {name for name in there if name.startswith("segments_")}
    assert named - {"NAME", "segments_3_1"} == there - lengths


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_compose(command: str) -> None:
    assert compose(command.split())


@pytest.mark.parametrize(("column", "size"), [(3, "small"), (4, "large")])
@pytest.mark.parametrize("option", ["beta", "eta", "gamma"])
def test_values_are_those_of_the_files(option: str, column: int, size: str) -> None:
    for name, row in ROWS.items():
        value = getattr(compose([f"objective={name}", f"size={size}"]).objective, option)
        cell = row.split("|")[column]
        stated = re.search(
            rf"\b{'g' if (name, option) == ('dmpo', 'gamma') else option} ([\d.]+)", cell
        )
        if stated is not None:
            assert float(stated[1]) == value, name
        elif value is not None:
            assert cell.strip() in ("the same",), name
