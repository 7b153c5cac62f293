"""A command that is stopped by a signal stops soon and cleanly, and says what goes on with it."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from engines.remote.ledger import Ledger
from envs.options import to_mapping
from tests.engines.remote_provider import Provider, serving
from tests.slow_command import CALLS
from training.cli.help import HelpPage
from training.cli.run import Command, run
from training.cli.stopping import resuming, signal_of, stopping_on_signals
from training.config import RunConfig
from training.storage.run import Run
from training.storage.store import Store

ROOT = Path(__file__).resolve().parents[1]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


ENDED = """
import asyncio, signal, sys
from training.cli.stopping import stopping_on_signals

# A parent in the background may have switched Ctrl-C off for all its children.
signal.signal(signal.SIGINT, signal.default_int_handler)

async def busy():
    signal.raise_signal(signal.SIGINT)

async def not_begun():
    pass

async def awaiting(other):
    await other

async def many():
    async with asyncio.TaskGroup() as group:
        group.create_task(busy())
        group.create_task(awaiting(not_begun()))

try:
    with stopping_on_signals(), asyncio.Runner() as loop:
        loop.run(many())
except KeyboardInterrupt:
    print("stopped")
"""


def test_the_tasks_that_a_signal_ends_are_not_logged() -> None:
    done = subprocess.run([sys.executable, "-c", ENDED], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("stopped\n", "")


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with serving(Provider(latency_s=600.0)) as provider:
        yield provider


def start(words: Sequence[str], ignored: Sequence[signal.Signals] = ()) -> subprocess.Popen[str]:
    def handlers() -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

    return subprocess.Popen(
        [sys.executable, "-m", "tests.slow_command", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=handlers,
    )


@pytest.mark.parametrize(
    ("number", "ignored"),
    [(signal.SIGTERM, [signal.SIGINT]), (signal.SIGHUP, []), (signal.SIGINT, [])],
)
def test_a_run_that_waits_for_answers_stops_at_once(
    provider: Provider, tmp_path: Path, number: signal.Signals, ignored: list[signal.Signals]
) -> None:
    words = [f"output_root={tmp_path}", f"base_url={provider.base_url}"]
    before = len(provider.bodies)
    process = start(words, ignored)
    while len(provider.bodies) < before + CALLS:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(number)
    process.send_signal(signal.SIGTERM)  # as a cluster that is in a hurry does
    stderr = process.communicate(timeout=120)[1]  # the answers take ten minutes
    folder = (tmp_path / "latest").resolve()
    again = shlex.join(["python", "-m", "tests.slow_command", *words, f"resume={folder}"])
    assert stderr == f"stopped: Stopped by {number.name}. Go on with: {again}\n"
    assert process.returncode == 128 + number
    with Store(folder / "store.sqlite") as store:
        assert store.step(1, "begun") == {}, "flushed, and the lock is free"
    with Ledger(folder / "calls.sqlite") as ledger:
        totals = ledger.totals()
    assert (totals.uncertain_calls, totals.calls, totals.open_calls) == (CALLS, CALLS, 0)


def test_without_a_run_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    process = start([f"output_root={tmp_path}"])
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=120)[1] == "stopped: Stopped by SIGTERM.\n"
    assert process.returncode == 128 + signal.SIGTERM


def test_commands_stop_by_signals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(config: RunConfig) -> None:
        with Run.open(to_mapping(config)):
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    words = ["seed=3", f"output_root={tmp_path}", "resume=null"]
    monkeypatch.setattr(sys, "argv", ["command", *words])
    with pytest.raises(SystemExit) as ended:
        run(
            Command(
                page=HelpPage(module="command", summary="", examples={}),
                work=work,
                check=lambda config: None,
            )
        )
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    folder = (tmp_path / "latest").resolve()
    assert capsys.readouterr().err.endswith(f" seed=3 output_root={tmp_path} resume={folder}\n")


def _hang_up_and_end() -> None:
    signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGTERM)


def test_handlers_are_put_back_and_ignored_signals_stay_ignored() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with pytest.raises(KeyboardInterrupt) as stopped, stopping_on_signals():
            _hang_up_and_end()
        assert signal_of(stopped.value) is signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
    assert signal_of(KeyboardInterrupt()) is signal.SIGINT


def test_the_command_that_resumes_names_one_folder() -> None:
    error = KeyboardInterrupt()
    assert resuming(error, ["seed=1"]) is None
    error.add_note("resume=/a run")
    words = resuming(error, ["seed=1", "resume=latest"])
    assert words is not None
    assert words.endswith(" seed=1 'resume=/a run'")
    assert "latest" not in words
