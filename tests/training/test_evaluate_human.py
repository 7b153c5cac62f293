"""A person as the partner of an evaluation: one game a scene, announced, with the outcome shown."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from training.cli.compose import compose
from training.evaluate import evaluate_policy
from training.loop import train

SMALL = [
    "+experiment=sotopia_sdpo",
    "scale=smoke",
    "env=plans",
    "threads=1",
    "cloning.dialogues=8",
    "iterations=1",
    "collect.episodes=4",
    "branch.points=2",
    "evaluation.scenarios=2",
    "evaluation.curve_scenarios=0",
]


def test_two_scenes_are_two_games(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(compose([*SMALL, f"output_root={tmp_path}"]))
    monkeypatch.setattr(sys, "stdin", io.StringIO("/leave\n" * 9))
    capsys.readouterr()
    words = [f"policy.name={run / 'checkpoints' / '0001'}", "partner=human", "env=plans"]
    words += ["evaluation.scenarios=2", f"output_root={tmp_path}", "threads=1"]
    evaluate_policy(compose(words))
    shown = " ".join(capsys.readouterr().out.split())
    assert "2 games against " in shown
    assert shown.count("Your goal, which the other does not know") == 2
    assert shown.count("The conversation is over, without a deal") == 2
