"""The benchmark of remote rollouts still plays; what it measures is for people to read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "remote_rollouts.py"


def test_remote_rollouts_play_their_turns_and_tell_what_each_cost() -> None:
    moment = ["--episodes", "3", "--turns", "4", "--latency-ms", "20", "--repeats", "1"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *moment, "--without-litellm"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^ +([a-z][a-z, ]+?) +(\d+\.\d+) +[\d.]+-", done.stdout, re.MULTILINE)
    walls_s = {name: float(wall_s) for name, wall_s in rows}
    assert set(walls_s) == {"bare aiohttp client", "ours, direct", "ours, direct, stored"}
    assert min(walls_s.values()) >= 4 * 0.020
