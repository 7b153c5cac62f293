"""A share of `make torture`: sixty kills and each damage leave no difference behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_sixty_kills_and_each_damage_change_nothing_in_silence(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    command = [sys.executable, "-m", "tests.torture", "--kills", "60", "--only", "kills", "damage"]
    ended = subprocess.run(
        [*command, "--out", str(record)], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-4000:]
    tallies = json.loads(record.read_text())["tallies"]
    assert sum(tally["tried"] for tally in tallies if tally["kind"] == "kills") == 60
    damages = [tally for tally in tallies if tally["kind"] == "damage"]
    counted = {key: sum(tally[key] for tally in damages) for key in ("tried", "refused", "ends")}
    assert counted["tried"] == counted["refused"] + counted["ends"] > 100
    assert not any(tally["differences"] for tally in tallies)
