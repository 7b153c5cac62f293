"""What the models behind APIs of a run share."""

from __future__ import annotations

import asyncio
from functools import partialmethod

import pytest

from engines.remote.answer_store import AnswerStore
from engines.remote.ledger import Ledger
from training.cli.compose import compose
from training.play.remote import Remote
from training.storage.run import Run


def test_calls_and_answers_of_a_wave_are_on_disk_before_the_wave(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []

    def flush(file: Ledger | AnswerStore, name: str) -> None:
        flushed.append(name)

    monkeypatch.setattr(Ledger, "flush", partialmethod(flush, name="calls"))
    monkeypatch.setattr(AnswerStore, "flush", partialmethod(flush, name="answers"))
    with asyncio.Runner() as loop:
        remote = Remote(compose(["policy=scratch"]), run, loop)
        with remote.watched():
            assert flushed == [], "it takes time, and the wave is not over"
        assert flushed == ["calls", "answers"]
