"""Runs, evaluations and comparisons from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import parley
from agents.function import History
from envs.errors import ConfigError, DataError
from training.api.options import words_of


def accepts(history: History) -> str:
    return "/accept" if history.offer else "What do you offer?"


def waits(history: History) -> str:
    return "/accept" if history.offer and history.turns_left < 4 else "A little more?"


def evaluated(agent: Any, folder: Path) -> parley.Evaluation:
    options = {"env": "plans", "evaluation.scenarios": 6, "output_root": str(folder)}
    found = parley.evaluate(agent, partner="scripted", options=options)
    assert found is not None
    return found


def test_agents_are_evaluated_and_compared(tmp_path: Path) -> None:
    first, second = (evaluated(agent, tmp_path) for agent in (accepts, waits))
    assert first.partners == ("experts",)
    goal = first.mean("goal", partner="experts")
    assert goal.mean is not None
    assert 0 <= goal.mean <= 10
    assert len(first.episodes()) == 6
    assert {row["metric"] for row in first.rows()} >= {"goal", "deal_rate"}
    found = parley.compare(first, second)
    assert found.policies == ("accepts", "waits")
    assert "accepts: goal" in repr(found)
    with pytest.raises(DataError, match=r"no metric goals\. Did you mean goal\?"):
        first.mean("goals", partner="experts")
    assert isinstance(parley.load(first.folder), parley.Evaluation)


def test_a_run_is_trained_and_read(tmp_path: Path) -> None:
    small = {
        "env": "plans", "cloning.dialogues": 4, "iterations": 1, "collect.episodes": 4,
        "branch.points": 2, "evaluation.scenarios": 2, "evaluation.curve_scenarios": 0,
        "output_root": str(tmp_path), "threads": 1,
    }  # fmt: skip
    run = parley.train("sotopia_sdpo", scale="smoke", options=small)
    assert run is not None
    assert run.checkpoint.name == "0001"
    assert [line["iteration"] for line in run.metrics] == [0, 1]
    assert run.difference("goal", partner="self").n == 2
    assert run.episodes("collect")
    assert run.report.is_file()
    (dialogue,) = parley.play(run.checkpoint, "experts", scenarios="plans/test/0")
    assert dialogue.turns


def test_mistakes_have_the_sentences_of_the_command_line() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean collect\.episodes\?"):
        parley.train("sotopia_sdpo", collect={"episods": 3})
    with pytest.raises(ConfigError, match=r"Did you mean sotopia_sdpo\?"):
        parley.train("sdpo")
    with pytest.raises(ConfigError, match="is no run; give the folder of a run"):
        parley.load("no/such")


def test_a_dry_run_returns_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert parley.train("sotopia_sdpo", scale="smoke", dry_run=True) is None
    assert "memory" in capsys.readouterr().out


def test_options_become_words() -> None:
    given = {
        "experiment": "sotopia_sdpo",
        "branch": {"points": 4},
        "resume": "it's here",
        "seed": 1,
    }
    assert list(words_of(given)) == [
        "+experiment=sotopia_sdpo",
        "branch.points=4",
        "resume='it\\'s here'",
        "seed=1",
    ]
