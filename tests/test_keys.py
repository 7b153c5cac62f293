"""A planted key is in nothing that real commands leave behind or print, whatever goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from engines.remote.direct_transport import DirectTransport
from tests.engines.remote_provider import FAULTS, Provider, serving
from tests.training.provided import places, replies, served
from tests.training.quick import quick_retries
from training.cli.compose import compose
from training.cli.run import run
from training.evaluate import COMMAND

ROOT = Path(__file__).resolve().parents[1]
KEY = "sk-canary-0123456789abcdefghijklmnopqrstuv"
VARIABLE = "CANARY_API_KEY"

Command = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    quick_retries(monkeypatch)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """The command in this process: its status and all that it printed."""

    def evaluate(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["training.evaluate", *words])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        with pytest.raises(SystemExit) as ended:
            run(COMMAND)
        printed = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out + printed.err

    return evaluate


def words(provider: Provider, folder: Path) -> list[str]:
    keyed = [f"++{who}.model.api_key_env={VARIABLE}" for who in ("partner", "judge")]
    small = ["evaluation.scenarios=4", "api.attempts=4", "partner.model.timeout_s=1"]
    models = [*served(provider), *served(provider, "judge")]
    return places(folder, "partner=server", "judge=rubric", *models, *keyed, *small)


def assert_clean(folder: Path, *texts: str) -> int:
    """The key is in no text and in no file; returns how many files there are."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    for half in (KEY, KEY[3:24]):
        for text in texts:
            assert half not in text
        for file in files:
            assert half.encode() not in file.read_bytes(), file
    return len(files)


def test_a_run_through_every_fault(tmp_path: Path, command: Command) -> None:
    provider = Provider(reply=replies, key=KEY, script=FAULTS, fault_rate=0.2)
    with serving(provider):
        status, said = command(*words(provider, tmp_path))
    assert status == 0, said
    assert provider.account.requests > len(FAULTS)
    assert (tmp_path / "evaluations" / "latest" / "report.html").is_file()
    assert assert_clean(tmp_path, said) >= 8


@pytest.mark.slow
@pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed")
@pytest.mark.filterwarnings("ignore:Item '.*' on TypedDict:UserWarning")  # of litellm's own
def test_a_run_by_litellm(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv(VARIABLE)
    quick_faults = [fault for fault in FAULTS if fault != "hangs"]
    provider = Provider(reply=replies, key=KEY, script=quick_faults, fault_rate=0.1)
    with serving(provider):
        monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
        chosen = places(tmp_path, "partner=gpt4o", "judge=rubric", "evaluation.scenarios=3")
        status, said = command(*chosen)
    assert status == 0, said
    assert provider.account.requests > len(quick_faults), said
    assert "is withdrawn by its maker on" in said
    assert_clean(tmp_path, said)


@pytest.mark.parametrize("lists", [True, False])
def test_a_key_that_is_refused(tmp_path: Path, command: Command, lists: bool) -> None:
    """The server quotes it back, before the run or at its first call."""
    models = ("model-a",) if lists else ()
    with serving(Provider(reply=replies, key="another", models=models)) as provider:
        status, said = command(*words(provider, tmp_path))
    assert status == 2
    assert VARIABLE in said.splitlines()[-1]
    assert "Traceback" not in said
    assert provider.account.requests == 0 or not lists
    assert_clean(tmp_path, said)


def test_a_budget_that_is_spent(tmp_path: Path, command: Command) -> None:
    with serving(Provider(reply=replies, key=KEY)) as provider:
        status, said = command(*words(provider, tmp_path), "budget_usd=0.002")
    assert status == 3
    assert "stopped: the next" in said
    assert said.endswith("All that was done is kept.\n")
    assert_clean(tmp_path, said)


def test_a_dry_run(tmp_path: Path, command: Command) -> None:
    with serving(Provider(reply=replies, key=KEY)) as provider:
        status, said = command(*words(provider, tmp_path), "dry_run=true")
    assert status == 0
    assert "Nothing was called." in said
    assert provider.account.requests == 0
    assert_clean(tmp_path, said)


@pytest.mark.slow
def test_a_traceback(tmp_path: Path) -> None:
    """A defect of ours, in the very frame that has the key."""
    folder = tmp_path / "out"
    program = """
import engines.remote.direct_transport as direct, sys
from training.cli.run import run
from training.evaluate import COMMAND
def broken(endpoint, content, key):
    raise RuntimeError("a defect")
direct.read_completion = broken
sys.argv = ["training.evaluate", *{words!r}]
run(COMMAND)
"""
    with serving(Provider(reply=replies, key=KEY)) as provider:
        text = program.replace("{words!r}", repr(words(provider, folder)))
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-c", text],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RuntimeError: a defect" in done.stderr
    assert provider.account.requests > 0
    assert_clean(tmp_path, done.stdout, done.stderr)


def test_the_configuration_that_is_shown(tmp_path: Path) -> None:
    with serving(Provider(key=KEY)) as provider:
        shown = words(provider, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "training.evaluate", *shown, "--cfg", "job", "--resolve"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0
    assert f"api_key_env: {VARIABLE}" in done.stdout
    assert_clean(tmp_path, done.stdout, done.stderr)


def test_what_is_said_of_the_parts(tmp_path: Path) -> None:
    from training.config.endpoint import endpoint_of

    with serving(Provider(key=KEY)) as provider:
        config = compose(words(provider, tmp_path))
    assert config.partner.model is not None
    transport = DirectTransport(endpoint_of(config.partner.model))
    assert_clean(tmp_path, repr(config), repr(transport), repr(transport.__dict__))


def test_warnings_are_heard(
    tmp_path: Path, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    """Hydra's way to be quiet would silence all loggers that are there."""
    with serving(Provider(reply=replies, key=KEY, gives_usage=False)) as provider:
        status, said = command(*words(provider, tmp_path))
    assert status == 0
    assert "does not say how many tokens it used" in caplog.text
    assert_clean(tmp_path, said, caplog.text)
