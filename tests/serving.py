"""A real model behind a real OpenAI-compatible server on loopback: `transformers serve`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).resolve().parents[1] / "agents" / "embedded_base"
_START_S = 120.0


@dataclass(frozen=True, slots=True)
class Served:
    """A model and where it is served; `base_url` ends in /v1."""

    model: str
    base_url: str


@contextmanager
def serve_embedded(log: Path) -> Iterator[Served]:
    """The embedded base model, served by a process of its own that writes to `log`."""
    port = _free_port()
    command = [
        str(Path(sys.executable).with_name("transformers")),
        *("serve", _FOLDER.name, "--host", "127.0.0.1", "--port", str(port)),
        *("--device", "cpu"),
    ]
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=_FOLDER.parent, env=os.environ | quiet, stdout=file, stderr=file
        )
    try:
        _wait_until_up(process, f"http://127.0.0.1:{port}/health", log)
        yield Served(_FOLDER.name, f"http://127.0.0.1:{port}/v1")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise AssertionError(f"The server did not start; it wrote:\n{log.read_text()[-3000:]}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
