"""A package of somebody else adds a family, a judge, a pairing and an objective, and trains."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the package is installed by pip."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(HERE, folder / "source", ignore=shutil.ignore_patterns("test_*", "__pycache__"))
    words = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    pip = [sys.executable, "-m", "pip", *words, "--target", str(folder / "site")]
    done = subprocess.run(
        [*pip, str(folder / "source")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def parley(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), str(ROOT)])
    return subprocess.run(
        [sys.executable, *words],
        cwd=site,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_each_component_is_one_short_file() -> None:
    files = [file for file in (HERE / "parley_outside").glob("*.py") if file.stem != "__init__"]
    assert len(files) == 4
    for file in files:
        assert len(file.read_text(encoding="utf-8").splitlines()) < 60


@pytest.mark.slow
def test_it_trains_with_all_four(site: Path, tmp_path: Path) -> None:
    # Experts continue at the branch points, since a model of a few seconds closes no deals.
    small = ("scale=smoke", "policy=scratch", "branch.source=experts", "partner=scripted")
    words = ("+experiment=outside", *small, "threads=1", f"output_root={tmp_path}")
    done = parley(site, "-m", "training.loop", *words, "objective.scale=3")
    assert done.returncode == 0, done.stdout + done.stderr
    run = (tmp_path / "latest").resolve()
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["examples"] > 0
    assert metrics[-1]["update"]["steps"] > 0
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary["families"]["final"]["experts"]) == {"coins"}
    assert "scale: 3.0" in (run / "config.yaml").read_text()


def test_its_choices_and_ranges_are_explained(site: Path) -> None:
    done = parley(site, "-m", "training.loop", "+experiment=outside", "objective.scale=-1")
    assert done.returncode == 2
    assert "objective.scale is -1.0, but must be above 0." in done.stderr
    done = parley(site, "-m", "training.loop", "judge=brief_tolk")
    assert "Did you mean brief_talk?" in done.stderr


def test_its_family_passes_the_contract(site: Path) -> None:
    program = (
        "from envs.contract import check_family; from envs.scenarios import draw;"
        "check_family(lambda n: draw.__wrapped__('coins', 'train', n))"
    )
    done = parley(site, "-W", "error", "-c", program)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "no objective of that name was registered there; decorate it with @objective('mine')"),
        ("import nowhere_at_all", "cannot be loaded from stranger: ModuleNotFoundError"),
    ],
)
def test_a_broken_package_is_named(site: Path, tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "stranger.py").write_text(content)
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[parley.objectives]\nmine = stranger\n")
    done = parley(tmp_path, "-m", "training.loop", "+experiment=sotopia_sdpo")
    assert done.returncode == 2
    assert "The entry point mine of stranger in the group parley.objectives" in done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
