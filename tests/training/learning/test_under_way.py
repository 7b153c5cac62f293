"""Stage 0 that is stopped goes on from what was kept, and ends in the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engines.weights import weights_version
from envs.errors import CheckpointError, DiskError
from tests.tiny_models import tiny_policy
from tests.training.full_disk import no_file_beyond
from tests.training.lines import RULES, STREAM, STYLE
from training.config import CloningConfig
from training.learning.cloning import clone
from training.learning.demonstrations import Row, demonstrations
from training.learning.under_way import UnderWay

CONFIG = CloningConfig(dialogues=8, lr=1e-2, batch_rows=2, epochs=2)


class StoppedError(Exception):
    """What stops a stage."""


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return demonstrations({"plans": 1.0}, CONFIG, RULES, STREAM, STYLE, seed=0)


def always() -> Callable[[], float]:
    """A clock by which every step is late enough to be kept."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1000.0
        return now

    return clock


def stop_at(last: int) -> Callable[[int, int, float], None]:
    def on_step(step: int, steps: int, loss: float) -> None:
        if step > last:
            raise StoppedError

    return on_step


def test_it_ends_in_the_same_weights(rows: list[Row], tmp_path: Path) -> None:
    whole = tiny_policy()
    expected = clone(whole, rows, CONFIG, seed=0)

    file = tmp_path / "cache" / "stage.safetensors"
    for last in (3, 9):
        under_way = UnderWay(file, always())
        with pytest.raises(StoppedError):
            clone(tiny_policy(), rows, CONFIG, seed=0, on_step=stop_at(last), under_way=under_way)
        assert file.is_file()
    steps: list[int] = []
    policy, under_way = tiny_policy(), UnderWay(file, always())
    found = clone(
        policy, rows, CONFIG, seed=0, on_step=lambda n, *_: steps.append(n), under_way=under_way
    )
    assert steps[0] == 10, "nine were kept"
    assert found == expected
    assert weights_version(policy) == weights_version(whole)
    under_way.done()
    assert list(file.parent.iterdir()) == []


def test_a_short_stage_writes_nothing(rows: list[Row], tmp_path: Path) -> None:
    clone(tiny_policy(), rows, CONFIG, seed=0, under_way=UnderWay(tmp_path / "stage"))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_sentence(rows: list[Row], tmp_path: Path) -> None:
    file = tmp_path / "stage.safetensors"
    with no_file_beyond(1000), pytest.raises(DiskError, match=r"stage\.safetensors cannot be writ"):
        clone(tiny_policy(), rows, CONFIG, seed=0, under_way=UnderWay(file, always()))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"nonsense" * 9])
def test_a_damaged_file_is_named(content: bytes, rows: list[Row], tmp_path: Path) -> None:
    file = tmp_path / "stage.safetensors"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"cannot be continued from .* delete it"):
        clone(tiny_policy(), rows, CONFIG, seed=0, under_way=UnderWay(file))
