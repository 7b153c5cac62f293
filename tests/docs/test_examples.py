"""Every example runs as it stands, and is short enough to be read at a glance."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGE = ROOT / "docs" / "how-to" / "python.md"
SAID = {
    "own_agent": "Ended by deal",
    "evaluate_agent": "Comparison with yes",
    "train_and_compare": "newest checkpoint:",
    "judge_transcript": "seat 1: goal",
    "environment": "reward 1.00",
}


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40
    assert ast.get_docstring(ast.parse(text)), "it says what it shows"
    assert SAID[path.stem] in run([str(path)], tmp_path)


def test_each_example_is_named_on_the_page() -> None:
    assert len(EXAMPLES) == len(SAID) >= 5
    page = PAGE.read_text(encoding="utf-8")
    for path in EXAMPLES:
        assert f"examples/{path.name}" in page


def test_the_page_runs_as_it_is_written(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    (tmp_path / "page.py").write_text("\n".join(blocks), encoding="utf-8")
    run(["page.py"], tmp_path)
