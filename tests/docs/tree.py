"""The tree in docs/design.md, and the same tree on disk.

python tests/docs/tree.py              # write the tree anew; keep its order and descriptions
python tests/docs/tree.py --describe   # and describe each module by its docstring's first line
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "design.md"
BLOCK = re.compile(r"(?<=## The tree of files\n\n```text\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
WHOLE = ("parley", "envs", "engines", "agents", "judges", "training", "conf", "benchmarks")
"""Of these, all modules and folders are named; of tests and docs the folders are."""
FOLDERS = ("tests", "docs")
CACHE, RECORDS = "__pycache__", ("results", "real_models")
DESCRIPTION = 28
"""The column at which descriptions begin."""


def on_disk() -> list[str]:
    """Modules as paths from the root, and folders with a slash at the end, in depth-first order."""
    return [entry for top in (*WHOLE, *FOLDERS) for entry in _walk(ROOT / top)]


def on_page(text: str) -> dict[str, str]:
    """The entries of the page's tree in their order, and what it says of each."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in _block(text).splitlines():
        name, _, said = line.strip().partition("  ")
        depth = (len(line) - len(line.lstrip())) // 2
        above = [*above[:depth], name]
        entry = "".join(above)
        assert entry not in found, f"{PAGE}: {entry} is named twice"
        found[entry] = said.strip()
    return found


def rewritten(text: str, *, describe: bool = False) -> str:
    """The page with the tree on disk, in the page's order where the page has one."""
    disk, said = on_disk(), on_page(text)
    place = {entry: index for index, entry in enumerate(dict.fromkeys([*said, *disk]))}
    lines = []
    for entry in sorted(disk, key=lambda entry: _sort_key(entry, place)):
        folder, name = _split(entry)
        known, docstring = said.get(entry, ""), _described(entry)
        description = docstring or known if describe else known or docstring
        indented = "  " * folder.count("/") + name
        lines.append(f"{indented:{DESCRIPTION}}  {description}".rstrip())
    return BLOCK.sub(lambda _: "".join(f"{line}\n" for line in lines), text)


def _walk(folder: Path) -> Iterator[str]:
    yield folder.relative_to(ROOT).as_posix() + "/"
    whole = folder.relative_to(ROOT).parts[0] in WHOLE
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if path.is_dir():
            if folder.name not in RECORDS and _holds_files(path):
                yield from _walk(path)
        elif path.suffix == ".py" and path.name != "__init__.py" and whole:
            yield path.relative_to(ROOT).as_posix()


def _holds_files(folder: Path) -> bool:
    """Whether there is more than what Python leaves behind, as in a folder that was moved away."""
    return any(path.is_file() and CACHE not in path.parts for path in folder.rglob("*"))


def _split(entry: str) -> tuple[str, str]:
    """The folder of an entry with its slash, and its own name, with one for folders."""
    folder, slash, name = entry.rstrip("/").rpartition("/")
    return folder + slash, name + "/" * entry.endswith("/")


def _sort_key(entry: str, place: dict[str, int]) -> list[tuple[bool, int]]:
    """Sorts entries below their folder: modules before folders, new ones behind the page's."""
    above = [entry[: found.end()] for found in re.finditer("/", entry)]
    path = above if entry.endswith("/") else [*above, entry]
    return [(part.endswith("/"), place[part]) for part in path]


def _block(text: str) -> str:
    block = BLOCK.search(text)
    assert block, f"{PAGE} has no block ```text under the heading 'The tree of files'"
    return block[0]


def _described(entry: str) -> str:
    """The first line of the docstring of a module, or of a folder's `__init__`."""
    path = ROOT / entry
    path = path / "__init__.py" if path.is_dir() else path
    if not path.exists():
        return ""
    lines = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()
    return lines[0].rstrip(".") if lines else ""


if __name__ == "__main__":
    describe = sys.argv[1:] == ["--describe"]
    page = rewritten(PAGE.read_text(encoding="utf-8"), describe=describe)
    PAGE.write_text(page, encoding="utf-8")
