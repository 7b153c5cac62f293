"""After a power loss a run has all that was told to be done, and ends in the same weights."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from engines.weights import weights_version
from tests.power_loss import Journal, Kept, Mark, needs_simulator, record
from tests.training.quick import SMALL_RUN, without_reports
from training.cli.compose import compose
from training.loop import train
from training.storage.check import check_run
from training.storage.manifest import verify_checkpoint
from training.storage.run_files import (
    COMMIT,
    CONFIG,
    MEASURES,
    METRICS,
    SUMMARY,
    read_metrics,
    read_result,
)
from training.storage.store import Store

pytestmark = needs_simulator

OPTIONS = (
    "+experiment=sotopia_sdpo",
    *SMALL_RUN,
    "iterations=1",
    "branch.points=4",
    "branch.continuations=2",
    "pairing.margin=0.1",
    "reference=average",  # so that a checkpoint has a folder inside
    "evaluation.scenarios=2",
    "evaluation.curve_scenarios=1",
    "evaluation.stubborn_bias=null",
)
OUTPUTS = Path("parent", "outputs")
UNDER_WAY = "clone-*.under-way.safetensors"


@dataclass(frozen=True)
class Recorded:
    """A run that lost no power, and what it did to the disk."""

    journal: Journal
    disk: Path

    @property
    def folder(self) -> Path:
        return (self.disk / OUTPUTS / "latest").resolve()


@dataclass(frozen=True)
class Loss:
    """A disk after a power loss.

    Attributes:
        told: what the run had been told to be on it.
    """

    told: list[str]
    disk: Path

    def of(self, kind: str) -> list[str]:
        """What was told of one kind of thing."""
        return [text.removeprefix(f"{kind} ") for text in self.told if text.startswith(f"{kind} ")]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    disk = tmp_path_factory.mktemp("disk")
    command = [sys.executable, "-m", "tests.marked_training", *OPTIONS]
    return Recorded(record([*command, f"output_root={disk / OUTPUTS}"], disk), disk)


def losses(journal: Journal, place: Path) -> Iterator[Loss]:
    """What is left when power is lost at each sync, and at some points between.

    Just after something was told, also the least that may be left.
    """
    for cut in journal.cuts(between=20):
        told = isinstance(journal.operations[cut - 1], Mark) if cut else False
        for seed in (Kept.SYNCED, cut) if told else (cut,):
            journal.disk_after(cut, seed, place)
            yield Loss(journal.marks(cut), place)
            shutil.rmtree(place)


def digests_of_waves(folder: Path) -> dict[tuple[str, str], str]:
    """The digests of what is written once, by table and key."""
    with closing(sqlite3.connect(folder / "store.sqlite")) as db:
        rows = db.execute("SELECT part, key, sha256 FROM digests").fetchall()
    once = {"episodes", "generations", "judgements", "scenarios", "groups", "branches", "examples"}
    return {(part, key): sha256 for part, key, sha256 in rows if part in once}


def test_what_was_told_is_there_and_all_that_is_there_is_as_written(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (recorded.folder / CONFIG).read_text()

    def same_options(file: Path) -> dict[str, str]:
        assert file.read_text() == options
        return {}

    monkeypatch.setattr("training.storage.check.read_config", same_options)  # it takes 40 ms
    clones = clones_under_way(recorded.journal, tmp_path / "once")
    written = digests_of_waves(recorded.folder)
    first, last = (recorded.folder / "checkpoints" / f"000{n}" for n in (0, 1))
    assert weights_version(first) != weights_version(last), "it learned"
    whole = 0
    for loss in losses(recorded.journal, tmp_path / "disk"):
        assert_cache(loss, clones)
        for name in loss.of("run"):
            folder = loss.disk / OUTPUTS / name
            assert (loss.disk / OUTPUTS / "latest").resolve() == folder
            assert_run(loss, folder)
            assert digests_of_waves(folder).items() <= written.items()
            whole += 1
        if not loss.of("run"):
            assert_begun_at_most(loss)
    assert whole > 200


def clones_under_way(journal: Journal, place: Path) -> set[bytes]:
    """All contents that the file of stage 0 under way has had, whole."""
    found = set()
    for cut in journal.cuts():
        if any(text.startswith("clone") for text in journal.marks(cut)):
            break
        journal.disk_after(cut, Kept.WRITTEN, place)
        found |= {file.read_bytes() for file in place.rglob(UNDER_WAY)}
        shutil.rmtree(place)
    assert len(found) > 1
    return found


def assert_cache(loss: Loss, under_way: set[bytes]) -> None:
    """The clone is there if that was told; what is there under its name is whole."""
    cache = loss.disk / OUTPUTS / "cache"
    clones = {path for path in cache.glob("clone-*") if path.is_dir()}
    for clone in clones | {cache / name for name in loss.of("clone")}:
        verify_checkpoint(clone)
    for file in cache.glob(UNDER_WAY):
        assert file.read_bytes() in under_way


def assert_begun_at_most(loss: Loss) -> None:
    """A store whose run had not begun is empty, and not damaged."""
    for path in loss.disk.rglob("store.sqlite"):
        with Store(path) as store:
            assert store.waves() == []
            assert store.step_names() == []


def assert_run(loss: Loss, folder: Path) -> None:
    """The store, checkpoints and results are there if that was told, and they are right."""
    files = set(loss.of("file"))
    for finding in check_run(folder):
        # Written anew by the resumed run, which the store tells to do so.
        again = {METRICS, SUMMARY, MEASURES} - files
        assert finding.is_right or finding.what in again, finding
    with Store.read_only(folder / "store.sqlite") as store:
        waves = {f"{key.phase} {key.iteration} {key.wave}" for key in store.waves()}
        steps = {f"{name} {n}" for name in store.step_names() for n in store.steps(name)}
        committed = store.steps(COMMIT)
    assert waves >= set(loss.of("wave"))
    assert steps >= set(loss.of("step"))
    for iteration in loss.of("iteration"):
        assert int(iteration) in committed
        verify_checkpoint(folder / "checkpoints" / f"{int(iteration):04d}")
    assert all((folder / name).is_file() for name in files)


# Going on


def cut_after(journal: Journal, text: str, further: int = 0) -> int:
    """The cut just after something was told, or some operations further."""
    return journal.operations.index(Mark(text)) + 1 + further


@pytest.mark.parametrize(
    ("told", "further", "seed"),
    [
        ("wave collect 1 0", 9, 1),  # while the next wave is written
        ("step wall_s 0", 0, Kept.SYNCED),
        ("step metrics.jsonl 1", -5, 2),  # the checkpoint is there, and nothing says so
        ("iteration 1", 0, Kept.SYNCED),
    ],
)
def test_it_goes_on_and_ends_in_the_same_weights(
    recorded: Recorded,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    told: str,
    further: int,
    seed: int | Kept,
) -> None:
    disk = tmp_path / "disk"
    recorded.journal.disk_after(cut_after(recorded.journal, told, further), seed, disk)
    folder = (disk / OUTPUTS / "latest").resolve()
    assert not (folder / SUMMARY).exists()
    without_reports(monkeypatch)
    train(compose([*OPTIONS, f"output_root={disk / OUTPUTS}", f"resume={folder}"]))
    for iteration in ("0000", "0001"):
        checkpoint = Path("checkpoints", iteration)
        assert weights_version(folder / checkpoint) == weights_version(recorded.folder / checkpoint)
    assert read_metrics(folder) == read_metrics(recorded.folder)
    results, wanted = (read_result(of, SUMMARY) for of in (folder, recorded.folder))
    assert results | {"wall_s": 0} == wanted | {"wall_s": 0}
    assert digests_of_waves(folder) == digests_of_waves(recorded.folder)
