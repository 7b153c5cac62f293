"""Options and patches that make whole runs quick."""

from __future__ import annotations

from functools import partial

import pytest

import training.play.remote
from engines.remote.retries import Retries

SMALL_RUN = (
    *("scale=smoke", "policy=scratch", "env=plans", "threads=1", "env.wave=6", "env.max_turns=8"),
    # Enough for the policy to hold a conversation, so that there are pairs to learn from.
    *("cloning.dialogues=300", "cloning.drills=0", "cloning.batch_rows=16"),
    *("cloning.epochs=2", "cloning.lr=0.003", "collect.episodes=12", "evaluation.split=test"),
)
"""A run of which an iteration takes seconds; what tuning may change is written out."""


def without_reports(patch: pytest.MonkeyPatch) -> None:
    """Training writes no report, which takes a second."""
    patch.setattr("training.loop.write_report", lambda folder: folder / "report.html")


def quick_retries(patch: pytest.MonkeyPatch) -> None:
    """Calls that failed are tried again after milliseconds, not after seconds."""
    patch.setattr(training.play.remote, "Retries", partial(Retries, base_s=0.001, cap_s=0.05))
