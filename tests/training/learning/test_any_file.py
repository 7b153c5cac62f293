"""Files of dialogues to learn from, mutated: rows of the kept ones, or a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given

from envs.errors import CheckpointError, ConfigError, DataError
from tests.envs.logs import episode_log
from tests.outside_data import check_sentence, dumped, fuzz, json_values, mutated, torn
from tests.training.learning.test_sources import conversation, stage
from training.learning.sources.base import Demonstrations
from training.methods.sources import SOURCES
from training.storage.checkpoint import TRAINER_STATE, _trainer_state

TOLD = [conversation("You are Ana.", "Begin.", "Good morning to you.", "Hm.", "As you like it.")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def check_file(file: Path, content: bytes) -> None:
    """Valid: every dialogue is counted, and each row says where it carries loss."""
    file.write_bytes(content)
    spec = SOURCES["file"]
    try:
        found: Demonstrations = spec.make(spec.options(path=str(file)), stage())
    except (ConfigError, DataError) as error:
        check_sentence(error, most=len(str(file)) + 700)
        return
    assert found.dialogues <= found.read
    assert found.kept == len(found.rows)
    for row in found.rows:
        assert len(row.token_ids) == len(row.loss_mask)
        assert any(row.loss_mask)


@example(content=b"[]")
@example(content=b"")
@fuzz(60)
@given(content=torn(dumped(TOLD).encode()) | mutated(TOLD).map(dumped).map(str.encode))
def test_any_conversations_are_rows_or_refused(folder: Path, content: bytes) -> None:
    check_file(folder / "said.json", content)


@fuzz(30)
@given(content=mutated([episode_log(), TOLD[0]]).map(dumped).map(str.encode))
def test_any_logs_are_rows_or_refused(folder: Path, content: bytes) -> None:
    check_file(folder / "said.json", content)


@example(b"[" * 100_000)
@fuzz(40)
@given(content=torn(b'{"iteration": 1}') | json_values.map(dumped).map(str.encode))
def test_any_state_of_a_trainer_is_an_object_or_refused(folder: Path, content: bytes) -> None:
    file = folder / TRAINER_STATE
    file.write_bytes(content)
    state: Any = None
    try:
        state = _trainer_state(file)
    except CheckpointError as error:
        check_sentence(error, most=len(str(file)) + 400)
    else:
        assert isinstance(state, dict)
