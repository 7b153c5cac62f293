"""Checkpoints come back as they were, and a damaged one is never loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from engines.weights import weights_version
from envs.errors import CheckpointError, DiskError
from tests.tiny_models import four_words
from tests.training.full_disk import no_file_beyond
from training.storage.checkpoint import load_checkpoint, save_checkpoint
from training.storage.manifest import verify_checkpoint

WORDS = {"<pad>": 0, "<eos>": 1, "park": 2, "zoo": 3}


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel(WORDS, unk_token="<pad>"))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")


@pytest.mark.parametrize("tied", [True, False])
def test_round_trip(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, tied: bool) -> None:
    model = four_words(tied=tied)
    folder = save_checkpoint(tmp_path / "0001", model, tokenizer, {"step": 7, "loss": 0.1})
    loaded = load_checkpoint(folder)
    assert loaded.trainer_state == {"step": 7, "loss": 0.1}
    assert loaded.tokenizer("park zoo")["input_ids"] == [2, 3]
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor), name
    assert weights_version(model) == weights_version(folder) == weights_version(loaded.model)
    assert [p.name for p in tmp_path.iterdir()] == ["0001"]  # no leftovers


def test_an_older_checkpoint_is_replaced_whole(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    folder = tmp_path / "0001"
    save_checkpoint(folder, four_words(), tokenizer, {"step": 1})
    (folder / "stale.txt").write_text("of the first")
    (tmp_path / ".0001.part").mkdir()  # a process was killed while it wrote
    (tmp_path / ".0001.part" / "model.safetensors").write_text("half")
    save_checkpoint(folder, four_words(seed=1), tokenizer, {"step": 2})
    assert load_checkpoint(folder).trainer_state == {"step": 2}
    assert weights_version(folder) == weights_version(four_words(seed=1))
    assert not (folder / "stale.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["0001"]


def test_a_failed_save_leaves_the_older_one(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    folder = save_checkpoint(tmp_path / "0001", four_words(), tokenizer, {"step": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_checkpoint(folder, four_words(seed=1), tokenizer, {"step": object()})
    assert load_checkpoint(folder).trainer_state == {"step": 1}


@pytest.mark.parametrize("size", [0, 700])  # the configuration fits into the latter, weights don't
def test_a_full_disk_is_a_sentence_and_leaves_the_older_one(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, size: int
) -> None:
    folder = save_checkpoint(tmp_path / "0001", four_words(), tokenizer, {"step": 1})
    with no_file_beyond(size), pytest.raises(DiskError, match=r"0001.* cannot be written \(.*free"):
        save_checkpoint(folder, four_words(seed=1), tokenizer, {"step": 2})
    assert load_checkpoint(folder).trainer_state == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["0001"], "half a checkpoint takes space, too"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "trainer_state.json"])
def test_damage_is_named(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    folder = save_checkpoint(tmp_path / "0001", four_words(), tokenizer, {})
    verify_checkpoint(folder)
    file = folder / name
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # one bit
    with pytest.raises(CheckpointError, match=rf"{name} has SHA-256 .* but the manifest says"):
        load_checkpoint(folder)
    file.unlink()
    with pytest.raises(CheckpointError, match=rf"{name} is missing"):
        load_checkpoint(folder)


def test_the_manifest_lists_every_other_file(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    folder = save_checkpoint(tmp_path / "0001", four_words(), tokenizer, {})
    listed = set(json.loads((folder / "manifest.json").read_text())["sha256"])
    assert listed == {p.name for p in folder.iterdir()} - {"manifest.json"}
    assert "tokenizer.json" in listed


@pytest.mark.parametrize("text", [None, "not json", "[]", "{}"])
def test_a_folder_without_a_manifest_is_no_checkpoint(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"manifest\.json is missing or cannot be read"):
        verify_checkpoint(tmp_path)


def test_all_files_have_the_mode_that_the_user_asks_for(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    before = os.umask(0o027)
    try:
        folder = save_checkpoint(tmp_path / "0001", four_words(), tokenizer, {}, four_words())
    finally:
        os.umask(before)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o640"}
    verify_checkpoint(folder)
