"""What all benchmarks share: command lines, tables, and this checkout's packages on the path.

Python puts only a script's own folder on its path; importing this module adds the checkout, before
installed packages.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))
SOTOPIA_VARIABLES = {
    "SOTOPIA_STORAGE_BACKEND": "local",  # files below the home folder, no Redis
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "CUSTOM_API_KEY": "none",
}
"""Environment variables for processes that run SOTOPIA."""
SHORT_RUN = ("evaluation.scenarios=2", "evaluation.curve_scenarios=0")
"""Options of training.loop for runs of which only the training matters."""


def parser(doc: str | None, *, repeats: int | None = None) -> argparse.ArgumentParser:
    """The command line of a benchmark that describes itself by its docstring.

    Args:
        doc: the module's docstring.
        repeats: the default of --repeats, for benchmarks that have it.
    """
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if repeats is not None:
        made.add_argument("--repeats", type=int, default=repeats)
    return made


def machine(*packages: str, threads: int | str | None = None) -> str:
    """Describe what the figures are measured on, with those packages that are installed."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    facts = [f"{os.cpu_count()} x {names[0] if names else platform.processor()}"]
    facts += [] if threads is None else [f"{threads} threads"]
    facts += [f"Python {platform.python_version()}"]
    facts += [f"{name} {version(name)}" for name in packages if _is_installed(name)]
    return f"{', '.join(facts)}; load before the run {os.getloadavg()[0]:.1f}"


def _is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except ModuleNotFoundError:
        return False


def table(*headings: str, **options: Any) -> Table:
    """An empty table; columns without a heading are text, the others are numbers."""
    made = Table(box=SIMPLE, **options)
    for heading in headings:
        made.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    return made


def span(values: Iterable[float], digits: int, between: str = "-") -> str:
    """The least and the largest value."""
    found = list(values)
    return f"{min(found):.{digits}f}{between}{max(found):.{digits}f}"
