"""The cache of clones: what is damaged is trained again, and what went wrong is not kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.embedded import make_tokenizer
from engines.weights import weights_version
from envs.errors import TrainingError
from tests.architectures import mistral, random_model
from tests.tiny_models import tiny_policy
from training.cli.compose import compose
from training.config import RunConfig
from training.learning.stage0 import clone_behaviour
from training.storage.checkpoint import load_checkpoint
from training.storage.run import Run

FEW = ("policy=embedded", "threads=1", "cloning.dialogues=2", "cloning.drills=0")


def clone_of(config: RunConfig) -> tuple[str, list[str]]:
    """Stage 0 of a new run: the version of its weights, and what the user was told."""
    told: list[str] = []

    def seat(*args: object) -> None:
        raise AssertionError("experts are not seated")

    with Run.create(Path(config.output_root), {}) as run:
        bc = clone_behaviour(config, run, lambda done, total: None, seat, told.append)  # type: ignore[arg-type]
    return weights_version(bc.model), told


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs start from a tiny model."""
    monkeypatch.setattr(
        "training.learning.stage0.first_model", lambda config: (tiny_policy(), make_tokenizer())
    )


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("damage", ["weights", "manifest"])
def test_a_damaged_clone_is_trained_again_with_a_note(tmp_path: Path, damage: str) -> None:
    config = compose([*FEW, f"output_root={tmp_path}"])
    whole, told = clone_of(config)
    assert told == []
    (cache,) = (tmp_path / "cache").glob("clone-*")
    if damage == "weights":
        content = bytearray((cache / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (cache / "model.safetensors").write_bytes(content)
    else:
        (cache / "manifest.json").unlink()
    again, told = clone_of(config)
    assert again == whole == weights_version(load_checkpoint(cache).model)
    assert len(told) == 1
    assert told[0].startswith("The cached clone is damaged, and is removed and trained again (")
    assert clone_of(config) == (whole, [])


def test_a_clone_that_got_worse_is_not_kept_for_other_runs(tmp_path: Path) -> None:
    config = compose([*FEW, f"output_root={tmp_path}", "cloning.lr=1e30"])
    for _ in range(2):
        _, told = clone_of(config)
        assert len(told) == 1
        assert told[0].startswith("Stage 0 made the policy worse: the loss of its first batch rose")
        assert "Lower cloning.lr, which is 1e+30." in told[0]
    assert list((tmp_path / "cache").glob("clone-*")) == []


def test_a_model_that_cannot_be_trained_is_refused_before_stage_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(mistral(64))
    monkeypatch.setattr(
        "training.learning.stage0.first_model", lambda config: (model, make_tokenizer())
    )
    with pytest.raises(TrainingError, match="MistralForCausalLM cannot be trained"):
        clone_of(compose([*FEW, f"output_root={tmp_path}"]))
    assert not (tmp_path / "cache").exists()
