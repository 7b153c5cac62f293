"""The documentation builds without a warning, and a page loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""Elements that load something, by the attribute that says what."""

pytest.importorskip("mkdocs", reason="the site needs the extra docs: make test EXTRAS=dev,docs")


class Loaded(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(LOADS.get(tag, ""))
        if address:
            self.addresses.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def from_elsewhere(site: Path) -> Iterator[str]:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = Loaded()
        loaded.feed(text)
        for address in loaded.addresses:
            if re.match(r"(https?:)?//", address):
                yield f"{page.name}: {address}"
        # Material fetches a library for these two when a page has them.
        if 'class="mermaid"' in text or 'data-md-component="source"' in text:
            yield f"{page.name}: a diagram or a repository's facts"
    for sheet in site.rglob("*.css"):
        for address in re.findall(
            r"(?:url\(|@import )['\"]?((?:https?:)?//[^'\")]+)", sheet.read_text()
        ):
            yield f"{sheet.name}: {address}"


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    assert list(from_elsewhere(site)) == []


def test_every_public_module_is_in_the_reference(site: Path) -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    missing = [
        name
        for package in ("parley", "envs", "engines", "agents", "judges", "training")
        for path in (ROOT / package).rglob("*.py")
        if not path.name.startswith("_")
        and f'id="{(name := ".".join(path.relative_to(ROOT).with_suffix("").parts))}"' not in pages
    ]
    assert missing == []
