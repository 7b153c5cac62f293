"""The command `parley`, and what a command line says before any work begins."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from envs.errors import ConfigError
from tests.test_cli import ROOT, python, refused
from training.cli.arguments import take_folders
from training.cli.commands import SUBCOMMANDS, program, start
from training.cli.compose import CONF_DIR, add_conf_folder
from training.storage.model_source import refuse_run


def test_parley_lists_its_subcommands() -> None:
    said = python("-m", "training", "--help").stdout
    for each in SUBCOMMANDS:
        assert f"  {each.name:<10} {each.summary} ({each.module})\n" in said
        assert find_spec(each.module) is not None
    assert python("-m", "training").stdout == said


def test_a_subcommand_does_what_its_module_does() -> None:
    by_name, by_module = (
        python("-m", *words, "--help", "engine")
        for words in (["training", "train"], ["training.loop"])
    )
    assert by_name.returncode == by_module.returncode == 0
    assert by_name.stdout == by_module.stdout
    wrong = python("-m", "training", "train", "objectiv=dpo")
    assert wrong.returncode == 2
    assert "Did you mean objective?" in wrong.stderr


def test_an_unknown_subcommand_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no subcommand 'evalute'\. Did you mean evaluate\?"):
        start(["evalute"])
    assert program("training.loop") == "python -m training.loop"


def test_no_words_start_no_training() -> None:
    done = python("-m", "training.loop")
    assert done.returncode == 2
    assert "+experiment=sotopia_sdpo" in done.stdout
    assert "run:" not in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--shell-completion", "install=bash"], "--help lists all options"),
        (["--config-name", "x"], "--config-dir DIR GROUP=NAME"),
        (["hydra.searchpath=[file:///x]"], "--config-dir DIR GROUP=NAME"),
        (["--config-dir"], "names no folder"),
        (["--config-dir", "no/such"], "does not exist"),
        (["+experiment=sdpo"], "Did you mean sotopia_sdpo?"),
    ],
)
def test_flags_of_hydra_say_what_works_instead(words: list[str], sentence: str) -> None:
    assert sentence in refused(*words)


def test_files_of_ones_own_are_chosen_by_name(tmp_path: Path) -> None:
    (tmp_path / "scale").mkdir()
    file = tmp_path / "scale" / "mine.yaml"
    own = "defaults:\n  - smoke\n  - _self_\ncloning:\n  dialogues: 77\n"
    file.write_text(f"# @package _global_\n{own}")
    shown = python(
        "-m", "training.loop", "--config-dir", str(tmp_path), "scale=mine", "--cfg", "job"
    )
    assert shown.returncode == 0, shown.stderr
    assert "\n  dialogues: 77\n" in shown.stdout
    assert "min_rejected_log_ratio" in shown.stdout, "defaults that are in no file are shown, too"
    file.rename(file.with_name("smoke.yaml"))
    with pytest.raises(ConfigError, match=r"has the name of a file that is there already"):
        add_conf_folder(str(tmp_path))
    assert take_folders(["--config-dir=a", "seed=1", "-cd", "b"]) == (["seed=1"], ["a", "b"])
    assert (CONF_DIR / "scale" / "smoke.yaml").is_file()


def test_a_run_in_place_of_a_model_names_its_newest_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(ConfigError, match="has no checkpoint yet"):
        refuse_run(str(tmp_path), "policy.name")
    for number in ("0000", "0003"):
        (tmp_path / "checkpoints" / number).mkdir(parents=True)
    with pytest.raises(
        ConfigError, match=r"newest checkpoint is policy\.name=\S+/checkpoints/0003"
    ):
        refuse_run(str(tmp_path), "policy.name")


def test_a_folder_of_ones_own_named_envs_has_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "training.loop", "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: The package 'envs' was expected at")
    assert "Traceback" not in done.stderr
