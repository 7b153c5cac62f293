"""The tree in docs/design.md is the tree on disk: every module of the packages, every folder."""

from __future__ import annotations

import difflib

from tests.docs.tree import PAGE, on_disk, on_page, rewritten

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_names_what_is_on_disk() -> None:
    page, disk = sorted(on_page(TEXT)), sorted(on_disk())
    diff = "\n".join(difflib.unified_diff(page, disk, str(PAGE), "on disk", lineterm="", n=0))
    assert page == disk, f"run python tests/docs/tree.py, which writes the tree anew:\n{diff}"


def test_every_entry_of_the_packages_is_described() -> None:
    said = {name: text for name, text in on_page(TEXT).items() if not name.startswith("tests/")}
    assert [name for name, text in said.items() if not text] == []


def test_writing_the_tree_anew_changes_nothing() -> None:
    assert rewritten(TEXT) == TEXT


def test_a_new_module_is_added_in_its_folder_and_a_missing_one_is_taken_out() -> None:
    line = next(line for line in TEXT.splitlines() if line.strip().startswith("referee.py"))
    changed = TEXT.replace(line + "\n", "  gone.py                     was here once\n")
    entries = list(on_page(rewritten(changed)))
    assert "envs/gone.py" not in entries
    assert entries[entries.index("envs/scenarios/") - 1] == "envs/referee.py"
