"""After a power loss the ledger and the answers lack the last ones at most, and none of a wave."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from engines.chat import ChatRequest, Message, Reply
from engines.remote.answer_store import AnswerStore
from engines.remote.ledger import Ledger, PlannedCall, Usage
from engines.remote.prices import Price
from tests.power_loss import Journal, Kept, Mark, mark, needs_simulator, record

pytestmark = needs_simulator

WAVE, WAVES = 100, 4
"""Enough for SQLite to write its log into the database in between."""

REQUEST = ChatRequest((Message("user", "Hi"),), 0.7, 64)


def reply(number: int) -> Reply:
    return Reply(f"Hello {number} " * 80, "m", 12, 3, cost_usd=0.0, finish_reason="stop")


def call_in_waves(folder: Path) -> None:
    """Calls that cost 1,000 nano-dollars each; a mark says how many were told to be on disk."""
    call = PlannedCall("m", "judge", Price(1.0, 1.0), prompt_tokens=1, max_tokens=1)
    with Ledger(folder / "calls.sqlite") as ledger, AnswerStore(folder / "answers.sqlite") as kept:
        for number in range(WAVES * WAVE):
            ledger.settle(ledger.reserve(call), Usage(1, 0))
            kept.put(str(number), REQUEST, reply(number))
            if number % WAVE == WAVE - 1:
                ledger.flush()
                kept.flush()
                mark(str(number + 1))


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    disk = tmp_path_factory.mktemp("disk")
    program = "from tests.engines.test_remote_power_loss import *; call_in_waves(Path(sys.argv[1]))"
    return record([sys.executable, "-c", program, str(disk)], disk)


def test_calls_and_answers_are_kept_up_to_some_point_after_the_last_wave(
    journal: Journal, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    for cut in journal.cuts(between=50):
        told_now = isinstance(journal.operations[cut - 1], Mark) if cut else False
        for seed in (Kept.SYNCED, cut) if told_now else (cut,):
            journal.disk_after(cut, seed, disk)
            told = int((journal.marks(cut) or ["0"])[-1])
            assert_calls(disk, told)
            assert_answers(disk, told)
            shutil.rmtree(disk)


def assert_calls(disk: Path, told: int) -> None:
    with Ledger(disk / "calls.sqlite") as ledger:
        totals = ledger.totals()
    settled = totals.settled_nusd // 1000
    assert told <= settled <= told + WAVE
    assert totals.calls - settled in (0, 1), "one was reserved, and not settled yet"
    assert totals.uncertain_nusd == 2000 * (totals.calls - settled)
    assert totals.prompt_tokens == settled


def assert_answers(disk: Path, told: int) -> None:
    with AnswerStore(disk / "answers.sqlite") as answers:
        found = [answers.get(str(number)) for number in range(told + WAVE)]
    texts = [one.text for one in found if one is not None]
    assert len(texts) >= told
    assert texts == [reply(number).text for number in range(len(texts))], "in their order"


def test_some_are_lost_that_no_wave_waited_for(journal: Journal, tmp_path: Path) -> None:
    """So the test above is not of a disk that keeps all."""
    first, second = (journal.operations.index(Mark(str(n * WAVE))) for n in (1, 2))
    journal.disk_after((first + second) // 2, Kept.SYNCED, tmp_path / "disk")
    with Ledger(tmp_path / "disk" / "calls.sqlite") as ledger:
        assert ledger.totals().settled_nusd == 1000 * WAVE


def test_logs_are_written_into_the_databases_meanwhile(journal: Journal, tmp_path: Path) -> None:
    """So the tests above are of that, too."""
    end = journal.operations.index(Mark(str(WAVES * WAVE)))
    journal.disk_after(end, Kept.WRITTEN, tmp_path / "disk")
    for name in ("calls", "answers"):
        assert (tmp_path / "disk" / f"{name}.sqlite").stat().st_size > 4096
