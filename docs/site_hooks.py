"""MkDocs hooks: pages of the API reference, generated from the packages on disk.

Each package of Python modules gets one page that lists its public modules, so the reference cannot
name a module that is gone or miss one that is new. The text comes from the docstrings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("parley", "envs", "engines", "agents", "judges", "training")
SECTION = "API reference"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the navigation's section for the API reference."""
    entries: list[Any] = [{package: f"api/{package}.md"} for package in _packages()]
    for section in config.nav or []:
        if SECTION in section:
            section[SECTION] = entries
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each package; mkdocstrings turns its `:::` lines into text."""
    for package, modules in _packages().items():
        lines = [f"# {package}", "", f"::: {package}", "    options:", "      members: false"]
        lines += ["      show_root_heading: false", "      show_root_toc_entry: false", ""]
        lines += [f"::: {module}\n" for module in modules]
        files.append(File.generated(config, f"api/{package}.md", content="\n".join(lines)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Take the link off `results/`: the records are in the repository, not on the site."""
    return markdown.replace("[results/](results/)", "`docs/results/`")


def _packages() -> dict[str, list[str]]:
    """The dotted names of the public modules of each package, by the package's dotted name."""
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        folders = [ROOT / package, *sorted(p for p in (ROOT / package).rglob("*") if p.is_dir())]
        for folder in folders:
            if not (folder / "__init__.py").exists():
                continue
            name = ".".join(folder.relative_to(ROOT).parts)
            files = sorted(f for f in folder.glob("*.py") if not f.name.startswith("_"))
            found[name] = [f"{name}.{file.stem}" for file in files]
    return found
