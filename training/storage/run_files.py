"""The names of the files in a run's folder, and readers for those that hold results.

config.yaml  store.sqlite  metrics.jsonl  measures.json  summary.json  report.html
checkpoints/NNNN/
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CONFIG, STORE, METRICS, SUMMARY = "config.yaml", "store.sqlite", "metrics.jsonl", "summary.json"
MEASURES = "measures.json"
CHECKPOINTS, REPORT, LATEST = "checkpoints", "report.html", "latest"

BC, TRAINED = "bc", "final"
"""Names of two policies in measures.json and summary.json: behaviour-cloned, and trained."""


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read a run's metrics.jsonl: one record an iteration; empty before the first is finished."""
    file = folder / METRICS
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
