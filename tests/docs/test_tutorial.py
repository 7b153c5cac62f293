"""Every code block of the tutorial runs: as it stands on the page, in order, in an empty folder.

A block with a title is a file of that name ("(add)" behind it: goes to its end). Other blocks are
run: python as a script, bash as a shell would. A page finds the files of the pages before it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "tutorial"
PAGES = ("first-run", "own-scenario", "own-judge", "own-objective", "own-model")
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
ADD = " (add)"


@dataclass(frozen=True)
class Block:
    """A code block; `line` is where its first line of code is on the page."""

    page: str
    line: int
    language: str
    title: str
    text: str


def blocks(page: str) -> list[Block]:
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    return [
        Block(page, text[: found.start()].count("\n") + 2, found[1], found[2] or "", found[3])
        for found in FENCE.finditer(text)
    ]


def write(block: Block, folder: Path) -> None:
    file = folder / block.title.removesuffix(ADD)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a" if block.title.endswith(ADD) else "w", encoding="utf-8") as stream:
        stream.write(block.text)


def environment(folder: Path) -> dict[str, str]:
    """Pip installs into the folder, without a network; what it installs is found from there."""
    prefix = folder / ".prefix"
    site = sysconfig.get_path("purelib", vars={"base": str(prefix)})
    binaries = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), site]),
        "PIP_PREFIX": str(prefix),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "false",  # that is how pip wants to be told
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }


def run(block: Block, folder: Path) -> None:
    words = {
        "python": [sys.executable, "-c", block.text],
        "bash": ["bash", "-euo", "pipefail", "-c", block.text],
    }[block.language]
    done = subprocess.run(
        words, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    place = f"docs/tutorial/{block.page}.md, line {block.line}"
    assert done.returncode == 0, f"{place}:\n{block.text}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs(page: str, tmp_path: Path) -> None:
    before = [block for earlier in PAGES[: PAGES.index(page)] for block in blocks(earlier)]
    for block in before:
        if block.title:
            write(block, tmp_path)
    for block in blocks(page):
        if block.title:
            write(block, tmp_path)
        elif block.language != "text":
            run(block, tmp_path)


def test_every_page_is_run() -> None:
    assert {file.stem for file in FOLDER.glob("*.md")} == {"index", *PAGES}


@pytest.mark.parametrize("page", PAGES)
def test_every_fence_is_a_block_that_is_written_run_or_shown(page: str) -> None:
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    found = blocks(page)
    assert text.count("```") == 2 * len(found) > 0
    assert {block.language for block in found if not block.title} <= {"python", "bash", "text"}
