"""What holds for all tests on busy cores: one torch thread each, and no example is too slow."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest
import torch
from hypothesis import settings

from tests.serving import Served, serve_embedded

torch.set_num_threads(1)
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The embedded model behind a real server, started once for all tests that ask for it."""
    absent = [p for p in ("accelerate", "fastapi", "openai", "uvicorn") if find_spec(p) is None]
    if absent:
        pytest.skip(f"no {', '.join(absent)}; install transformers[serving]")
    with serve_embedded(tmp_path_factory.mktemp("server") / "log.txt") as served:
        yield served


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that takes longest, so that tests side by side end together."""
    items.sort(key=lambda item: item.path.name != "test_torture.py")
