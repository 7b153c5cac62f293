"""What stops a command stops the programs that it runs."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from training.evaluation.children import Children

WAITING = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).touch()
time.sleep(600)
"""


def test_programs_are_stopped_and_no_other_begins(tmp_path: Path) -> None:
    children, begun, later = Children(), tmp_path / "begun", tmp_path / "later"
    with (tmp_path / "log").open("w") as log, ThreadPoolExecutor(1) as pool:

        def start(place: Path) -> int:
            command = [sys.executable, "-c", WAITING, str(place)]
            return children.run(command, output=log, env=os.environ)

        first, second = pool.submit(start, begun), pool.submit(start, later)
        while not begun.exists():
            assert not first.done(), first.result()
        children.stop()
        assert first.result(timeout=60) == -signal.SIGTERM
        assert second.result(timeout=60) == 128 + signal.SIGTERM
    assert not later.exists()


def test_what_a_program_prints_and_its_exit_code_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = "import sys; print('out'); sys.stdout.flush(); sys.exit('err')"
    with log.open("w") as output:
        exit_code = Children().run([sys.executable, "-c", words], output=output, env=os.environ)
    assert exit_code == 1
    assert log.read_text() == "out\nerr\n"
