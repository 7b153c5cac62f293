"""A run's folder, and a provider that plays and judges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.remote_provider import Provider, serving
from tests.training.provided import replies
from training.storage.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """An open run without options."""
    with Run.create(tmp_path, {}) as opened:
        yield opened


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with serving(Provider(reply=replies)) as provider:
        yield provider
