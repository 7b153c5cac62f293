"""Files and modules that the pages name exist, so that a rename does not leave them behind."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *(page for page in (ROOT / "docs").rglob("*.md") if "results" not in page.parts),
]
OF_THE_READER = ("meetings/", "my_package/")
"""Folders that the reader makes."""


def ids(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)+[\w.]+\.(?:py|yaml))`", text))
    missing = [
        name
        for name in named
        if not name.startswith(OF_THE_READER)
        and "NAME" not in name
        # A page may leave "training/" out, as docs/concepts/run.md does.
        and not any((root / name).exists() for root in (ROOT, ROOT / "training"))
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    ours = re.findall(r"python -m ((?:envs|judges|training)(?:\.\w+)+)", text)
    assert [name for name in set(ours) if find_spec(name) is None] == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_tests_that_a_page_names_exist(page: Path) -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8")))
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not re.search(rf"^(?:async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE)
    ]
    assert missing == []


def test_each_promise_names_what_holds_it() -> None:
    page = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    promises = page.partition("## Who is trusted")[0].partition("## Promises")[2]
    rows = [line for line in promises.splitlines() if line.startswith("| ") and "---" not in line]
    rows = [row for row in rows if row != "| promise | test |"]
    assert len(rows) > 15
    assert [row for row in rows if "`tests/" not in row and "`.ci/run`" not in row] == []
