"""The wheel holds all of us and nobody else, and works far from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from envs.extras import DISTRIBUTION, extras, install, packages_of
from training.preflight.checks import OUR_PACKAGES

ROOT = Path(__file__).resolve().parents[1]
NOT_OURS_TO_SHIP = {"__pycache__", ".ruff_cache", ".mypy_cache"}


def run(words: list[str], cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )


def pip(*words: str, cwd: Path) -> None:
    done = run([sys.executable, "-m", "pip", *words, "--no-deps", "--no-index"], cwd)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, so that the checkout stays clean."""
    copy = tmp_path_factory.mktemp("copy")
    for name in OUR_PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns(*NOT_OURS_TO_SHIP))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    pip("wheel", "--no-build-isolation", "--wheel-dir", "dist", ".", cwd=copy)
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    target = tmp_path / "site"
    pip("install", "--target", str(target), str(wheel), cwd=tmp_path)
    return target


def shipped(wheel: Path) -> set[str]:
    names = ZipFile(wheel).namelist()
    return {name for name in names if ".dist-info/" not in name}


def test_top_level_names_are_exactly_ours(wheel: Path) -> None:
    assert {name.partition("/")[0] for name in shipped(wheel)} == set(OUR_PACKAGES)


def test_every_file_of_our_packages_is_in_the_wheel(wheel: Path) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for package in OUR_PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and not NOT_OURS_TO_SHIP & set(path.parts)
    }
    assert files - shipped(wheel) == set()


def test_the_configuration_is_found_from_anywhere(installed: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    words = [sys.executable, "-m", "training.loop", "+experiment=sotopia_sppo", "--cfg", "job"]
    done = run(words, elsewhere, PYTHONPATH=str(installed))
    assert "  name: sppo\n" in done.stdout, done.stderr
    where = run(
        [sys.executable, "-c", "import training; print(training.__file__)"],
        elsewhere,
        PYTHONPATH=str(installed),
    )
    assert where.stdout.strip() == str(installed / "training" / "__init__.py")
    assert list(elsewhere.iterdir()) == []


def test_a_distribution_that_overwrites_ours_is_named(installed: Path, tmp_path: Path) -> None:
    info = installed / "openai_agents-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: openai-agents\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("agents\n")
    words = [sys.executable, "-m", "training.loop", f"output_root={tmp_path}"]
    done = run(words, tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 2
    assert "'openai-agents' also installs a package 'agents'" in done.stderr
    assert f"give {DISTRIBUTION} a virtual environment of its own" in done.stderr


def test_a_package_of_that_name_before_ours_is_named(installed: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "here" / "judges"
    stranger.mkdir(parents=True)
    (stranger / "__init__.py").touch()
    words = [sys.executable, "-m", "training.loop", f"output_root={tmp_path}"]
    done = run(words, stranger.parent, PYTHONPATH=str(installed))
    assert done.returncode == 2
    assert f"'judges' was expected at {installed / 'judges'}" in done.stderr


def test_an_extra_is_installed_by_its_packages() -> None:
    """No index knows this project, so pip could not be given its name."""
    assert {"api", "gguf", "vllm", "wandb"} <= set(extras())
    assert install("gguf") == "pip install 'gguf>=0.17' accelerate"
    assert packages_of("none") == ()
    assert install("none") == "pip install -e '.[none]'"
