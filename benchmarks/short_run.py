"""A short run of the embedded loop in a folder that is gone afterwards, for others to look into."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def short_run(*options: str) -> Iterator[Path]:
    """Make one iteration of the embedded loop, with `options`; the run's folder."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "training.loop", f"output_root={folder}", "iterations=1"]
        small = ["evaluation.scenarios=2", "evaluation.curve_scenarios=0"]
        subprocess.run([*command, *small, *options], cwd=ROOT, check=True, capture_output=True)
        yield Path(folder) / "latest"
