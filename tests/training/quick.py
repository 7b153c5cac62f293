"""Patches that make whole runs quick."""

from __future__ import annotations

from functools import partial

import pytest

import training.play.remote
from engines.remote.retries import Retries


def without_reports(patch: pytest.MonkeyPatch) -> None:
    """Training writes no report, which takes a second."""
    patch.setattr("training.loop.write_report", lambda folder: folder / "report.html")


def quick_retries(patch: pytest.MonkeyPatch) -> None:
    """Calls that failed are tried again after milliseconds, not after seconds."""
    patch.setattr(training.play.remote, "Retries", partial(Retries, base_s=0.001, cap_s=0.05))
