"""Files from a hub on loopback: fetched once, only those that are needed, or a sentence why not."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agents.embedded import BASE_FOLDER
from engines.weights import weights_version
from envs.errors import ConfigError
from training.storage.hub import Address, is_on_hub, read_address
from training.storage.pretrained import load_pretrained

ROOT = Path(__file__).resolve().parents[3]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"agents.jsonl": b'{"a": 1}\n', "combos.jsonl": b"{}\n", "weights.bin": b"large"}
MODEL = {file.name: file.read_bytes() for file in BASE_FOLDER.iterdir()} | {"model.bin": b"pickle"}
HELD = {"datasets/owner/data": FILES, "models/owner/model": MODEL}


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("hf://owner/data", Address("owner/data", None)),
        ("hf://some-owner/data.set_2@v1.0", Address("some-owner/data.set_2", "v1.0")),
        ("hf://owner/data@refs/pr/3", Address("owner/data", "refs/pr/3")),
    ],
)
def test_addresses(path: str, address: Address) -> None:
    assert is_on_hub(path)
    assert read_address(path) == address


@pytest.mark.parametrize("path", ["hf://", "hf://data", "hf://a/b/c", "hf://a/b@", "hf://a/b c"])
def test_what_names_nothing_is_explained(path: str) -> None:
    with pytest.raises(ConfigError, match="expected hf://OWNER/NAME, or with a revision"):
        read_address(path)


def test_a_folder_is_not_on_the_hub() -> None:
    assert not is_on_hub("shared/hf/data")


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub as a snapshot needs."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0].removeprefix("/")
        for place, files in HELD.items():
            repository = place.removeprefix("models/")  # files of models lie at the top
            name = path.rpartition("/")[2]
            if path == f"api/{place}/revision/main":
                siblings = [{"rfilename": name} for name in files]
                info = {"id": "any", "sha": COMMIT, "siblings": siblings}
                return self._send(json.dumps(info).encode())
            if path == f"api/{place}/tree/{COMMIT}":
                rows = [
                    {"type": "file", "path": name, "size": len(body), "oid": _sum(body)}
                    for name, body in files.items()
                ]
                return self._send(json.dumps(rows).encode())
            if path == f"{repository}/resolve/{COMMIT}/{name}" and name in files:
                headers = {"ETag": f'"{_sum(files[name])}"', "X-Repo-Commit": COMMIT}
                return self._send(files[name], headers)
        self._send(b"", {"X-Error-Code": "RepoNotFound"}, status=404)

    def _send(
        self, body: bytes, headers: Mapping[str, str] | None = None, status: int = 200
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


def _sum(body: bytes) -> str:
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


FETCH = "from training.storage.hub import fetch; print(fetch(sys.argv[1], sys.argv[2:]))"
LOAD = """
from engines.weights import weights_version
from training.storage.pretrained import load_pretrained
model, tokenizer = load_pretrained(sys.argv[1])
print(weights_version(model), len(tokenizer))
"""


def fetched(
    cache: Path, endpoint: str, path: str, *names: str, code: str = FETCH
) -> subprocess.CompletedProcess[str]:
    """In a process of its own, since the hub's client reads its environment when imported."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}", path, *names],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "NO_PROXY": "127.0.0.1", **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_files_are_fetched_and_found_again_without_the_hub(hub: str, tmp_path: Path) -> None:
    names = ("agents.jsonl", "combos.jsonl")
    done = fetched(tmp_path, hub, "hf://owner/data", *names)
    folder = Path(done.stdout.strip())
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        name: FILES[name] for name in names
    }, done.stderr
    assert folder.name == COMMIT, "the place says which state of the data set it is"
    again = fetched(tmp_path, "http://127.0.0.1:9", "hf://owner/data", *names)
    assert again.stdout == done.stdout, again.stderr


def test_what_cannot_be_fetched_is_explained(hub: str, tmp_path: Path) -> None:
    gone = fetched(tmp_path, "http://127.0.0.1:9", "hf://owner/data", "agents.jsonl")
    assert "ConfigError: hf://owner/data could not be fetched (" in gone.stderr
    assert "check the name and the connection, or give a folder" in gone.stderr
    unknown = fetched(tmp_path, hub, "hf://owner/other", "agents.jsonl")
    assert "ConfigError: hf://owner/other could not be fetched (" in unknown.stderr
    short = fetched(tmp_path, hub, "hf://owner/data", "agents.jsonl", "hard.json")
    assert "ConfigError: hf://owner/data has no hard.json; expected a data set with" in short.stderr


def test_a_model_is_loaded_by_its_address(hub: str, tmp_path: Path) -> None:
    done = fetched(tmp_path, hub, "hf://owner/model", code=LOAD)
    _, tokenizer = load_pretrained(BASE_FOLDER)
    assert done.stdout.split() == [weights_version(BASE_FOLDER), str(len(tokenizer))], done.stderr
    assert not list(tmp_path.rglob("*.bin")), "nothing pickled is fetched"
    again = fetched(tmp_path, "http://127.0.0.1:9", "hf://owner/model", code=LOAD)
    assert again.stdout == done.stdout, again.stderr
    gone = fetched(tmp_path, hub, "hf://owner/other", code=LOAD)
    assert "ConfigError: hf://owner/other could not be fetched (" in gone.stderr
