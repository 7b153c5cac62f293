"""The command as a person types it: every mistake is one sentence on stderr and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest

from envs.errors import ConfigError
from envs.options import option_names
from training.cli.arguments import check_arguments
from training.cli.compose import groups
from training.config import RunConfig

ROOT = Path(__file__).resolve().parents[1]


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def refused(*words: str) -> str:
    """What stderr says of a command that must be refused."""
    done = python("-m", "training.loop", *words)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, "one sentence on one line"
    return done.stderr


def test_help_names_every_group_and_every_choice() -> None:
    done = python("-m", "training.loop", "--help")
    assert done.returncode == 0
    assert "python -m training.loop +experiment=sotopia_sdpo" in done.stdout
    said = " ".join(done.stdout.split())
    for group, names in groups().items():
        assert f" {group} {', '.join(names)} " in said


def test_help_on_a_group_says_types_ranges_defaults_and_meanings() -> None:
    said = " ".join(python("-m", "training.loop", "--help", "objective", "critic").stdout.split())
    assert "objective.flip_prob number, at least 0 and at most 0.5" in said
    assert "probability that chosen and rejected were swapped" in said
    assert "critic.selects_segments true | false; default false" in said
    assert "value Names the own turn after which the value fell most" in said
    assert "Did you mean objective?" in refused("--help", "objektive")


CHOSEN = ("demonstrations", "engine", "judge", "logger", "objective", "pairing")
"""Sections whose `name` the choice of a file in conf/ sets."""


def test_help_knows_every_option() -> None:
    """Whatever a section or a component can be told is shown under its group."""
    sections = [name for name, hint in get_type_hints(RunConfig).items() if is_dataclass(hint)]
    said = python("-m", "training.loop", "--help", "run", *sections).stdout
    known = option_names(RunConfig)
    weights = {name for name in known if name.rpartition(".")[0] in known}
    chosen_by = {f"{name}.name" for name in CHOSEN}
    for name in set(known) - weights - chosen_by:
        assert f"  {name}  " in said


def test_the_judges_of_a_panel_have_names_of_ones_own() -> None:
    check_arguments(["judge=panel", "judge.panel.second.name=gpt-4o", "++judge.panel.x.name=y"])
    with pytest.raises(ConfigError, match=r"Did you mean judge\.panel\?"):
        check_arguments(["judge.panl=x"])


def test_options_are_checked_before_torch_is_imported() -> None:
    loaded = (
        "import sys, training.cli; print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    assert python("-c", loaded).stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("collect.episods=3", "Did you mean collect.episodes?"),
        ("objectiv=dpo", "Did you mean objective?"),
        ("objective=sdop", "Did you mean sdpo?"),
        ("+experiment=sotopia_sdp", "Did you mean sotopia_sdpo?"),
        ("experiment=sotopia_sdpo", "write +experiment=sotopia_sdpo"),
        ("sotopia_sdpo", "expected KEY=VALUE"),
        ("--seed=1", "Options are set without dashes"),
        ("collect.episodes=many", "collect.episodes is 'many', but must be a whole number"),
        ("env=open", "no program checks those of open"),
        ("collect.episodes=0", "collect.episodes is 0, but must be at least 1"),
    ],
)
def test_a_slip_is_explained(word: str, sentence: str) -> None:
    assert sentence in refused(word)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-m", "seed=0,1", "objective=dpo,sdop"], "Did you mean sdpo?"),
        (["--multirun", "seed=0,1", "collect.episodes=4,0"], "must be at least 1"),
        (["-m", "seed=0,1", "pairing=segment,win_rate"], "pairing=win_rate makes none"),
        (["-m", "seed=0,1", "policy=checkpoint", "policy.name=no/such"], "there is no such folder"),
        (["seed=0,1"], "Ambiguous value for argument 'seed=0,1'"),
    ],
)
def test_every_run_of_a_sweep_is_checked_before_the_first(words: list[str], sentence: str) -> None:
    assert sentence in refused(*words)


def test_a_sweep_ends_in_one_table(tmp_path: Path) -> None:
    small = ["scale=smoke", "env=plans", "cloning.dialogues=0", "iterations=1", "threads=1"]
    small += ["collect.episodes=4", "branch.points=2", "evaluation.scenarios=2"]
    small += ["evaluation.curve_scenarios=0", f"output_root={tmp_path}"]
    methods = "+experiment=sotopia_sdpo,sotopia_sppo"
    done = python("-m", "training.loop", "--multirun", methods, "seed=0,1", *small)
    assert done.returncode == 0, done.stderr
    (table,) = tmp_path.glob("*-methods/methods.md")
    text = table.read_text()
    assert text.count("| sdpo | ") == text.count("| sppo | ") == 3 + 1, "partners, and what it took"
    assert "| sdpo | 0, 1 | " in text
    assert len(list(tmp_path.glob("2*/summary.json"))) == 4
    shown = done.stdout.rpartition("report: ")[2]
    assert "over clone" in shown
    assert table.name in shown


def test_a_missing_model_is_explained() -> None:
    said = refused("policy=checkpoint", "policy.name=no/such/model")
    assert "policy.name is 'no/such/model', but there is no such folder" in said


def test_a_place_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "nothing can be written there" in refused(f"output_root={file / 'below'}")


def test_a_run_that_is_not_there_cannot_be_resumed(tmp_path: Path) -> None:
    said = refused(f"resume={tmp_path}", f"output_root={tmp_path}")
    assert f"{tmp_path / 'config.yaml'} does not exist" in said


def test_the_configuration_can_be_shown() -> None:
    done = python("-m", "training.loop", "--cfg", "job", "objective=dpo", "objective.beta=0.25")
    assert done.returncode == 0
    assert "  beta: 0.25\n" in done.stdout
