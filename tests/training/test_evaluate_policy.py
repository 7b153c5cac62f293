"""A finished checkpoint is measured as it is: its clone found, nothing trained, nothing moved."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from agents.embedded import make_tokenizer
from engines.weights import weights_version
from envs.errors import CheckpointError, ConfigError
from tests.tiny_models import tiny_policy
from training.cli.compose import compose
from training.evaluate import evaluate_policy, resolve_options
from training.storage.checkpoint import bc_checkpoint_of, save_checkpoint
from training.storage.store import Store


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the checkpoints 0000 and 0002, of different weights."""
    folder = tmp_path_factory.mktemp("outputs") / "a_run"
    for iteration, seed in ((0, 1), (2, 2)):
        save_checkpoint(
            folder / "checkpoints" / f"{iteration:04d}",
            tiny_policy(seed),
            make_tokenizer(),
            {"iteration": iteration},
        )
    options = {"policy": {"prompt_style": "brief"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(options))
    return folder


def read_summary(output_root: Path) -> dict[str, Any]:
    return json.loads((output_root / "evaluations" / "latest" / "summary.json").read_text())


def test_a_checkpoint_of_a_run_is_compared_with_its_clone(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = (f"policy.name={run_dir}/checkpoints/0002", "evaluation.split=dev")
    evaluate_policy(compose([*measured, f"output_root={tmp_path}", "evaluation.scenarios=4"]))
    said = capsys.readouterr().out
    summary = read_summary(tmp_path)
    assert set(summary["policies"]) == {"bc", "final", "stubborn"}
    assert set(summary["paired"]) == {"self", "frozen_bc", "experts"}
    assert (summary["split"], summary["iterations"]) == ("dev", 2)
    assert summary["policies"]["final"]["experts"]["goal"]["n"] == 4
    for partner in summary["paired"]:
        assert f"partner: {partner} (4 dev scenarios)" in said
    assert (tmp_path / "evaluations" / "latest" / "report.html").is_file()
    assert not (tmp_path / "latest").exists(), "the newest run stays what it was"
    with Store.read_only(tmp_path / "evaluations" / "latest" / "store.sqlite") as store:
        played = {
            name: {g.weights_version for e in store.episodes(name, 2) for g in e.generations if g}
            for name in ("evaluate-final-self", "evaluate-bc-self")
        }
    assert played == {
        "evaluate-final-self": {weights_version(tiny_policy(2))},
        "evaluate-bc-self": {weights_version(tiny_policy(1))},
    }


def test_any_other_model_has_no_clone_to_be_compared_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    tiny_policy(2).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    places = (f"policy.name={folder}", f"output_root={tmp_path}")
    evaluate_policy(compose(["policy=embedded", *places, "evaluation.scenarios=2"]))
    said = capsys.readouterr().out
    summary = read_summary(tmp_path)
    assert {name: set(found) for name, found in summary["policies"].items()} == {
        "final": {"self", "experts"}
    }
    assert summary["paired"] == {}
    assert "partner: experts (2 test scenarios)" in said
    assert f"evaluation: {(tmp_path / 'evaluations/latest').resolve()}\n" in said, "one line"


def test_a_damaged_checkpoint_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_checkpoint(folder, tiny_policy(2), make_tokenizer(), {})
    (folder / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="was changed or damaged"):
        evaluate_policy(compose([f"policy.name={folder}", f"output_root={tmp_path / 'out'}"]))
    assert not (tmp_path / "out" / "evaluations").exists()


def test_the_clone_is_the_first_checkpoint_of_the_same_run(run_dir: Path, tmp_path: Path) -> None:
    checkpoints = run_dir / "checkpoints"
    (tmp_path / "latest").symlink_to(run_dir)
    assert bc_checkpoint_of(str(tmp_path / "latest/checkpoints/0002")) == checkpoints / "0000"
    assert bc_checkpoint_of(str(checkpoints / "0000")) is None
    assert bc_checkpoint_of(str(run_dir)) is None
    assert bc_checkpoint_of("embedded") is None


@pytest.mark.parametrize("harm", ["manifest", "folder"])
def test_a_clone_that_cannot_be_read_is_not_left_out_of_the_comparison(
    tmp_path: Path, harm: str
) -> None:
    (tmp_path / "config.yaml").write_text("{}")
    for name in ("0000", "0002"):
        save_checkpoint(tmp_path / "checkpoints" / name, tiny_policy(), make_tokenizer(), {})
    bc = tmp_path / "checkpoints" / "0000"
    (bc / "manifest.json").unlink() if harm == "manifest" else shutil.rmtree(bc)
    config = compose([f"policy.name={bc.with_name('0002')}", f"output_root={tmp_path}"])
    with pytest.raises(CheckpointError, match=r"0000.manifest.json is missing"):
        evaluate_policy(config)


def test_options_are_resolve_options(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(run_dir)
    name = str(tmp_path / "latest/checkpoints/0002")
    config = compose([f"policy.name={name}", f"output_root={tmp_path}"])
    kept = resolve_options(config, has_bc=True)
    assert kept.policy.name == f"{run_dir}/checkpoints/0002"  # whatever `latest` is tomorrow
    assert kept.output_root == f"{tmp_path}/evaluations"
    assert kept.evaluation.stubborn_bias == config.evaluation.stubborn_bias is not None
    assert resolve_options(config, has_bc=False).evaluation.stubborn_bias is None
    assert resolve_options(compose(["policy=embedded"]), has_bc=False).policy.name == "embedded"


def test_a_policy_is_not_asked_in_a_style_that_it_never_learned(run_dir: Path) -> None:
    config = compose([f"policy.name={run_dir}/checkpoints/0002"])
    full = replace(config, policy=replace(config.policy, prompt_style="full"))
    with pytest.raises(ConfigError, match=r"set policy\.prompt_style=brief"):
        resolve_options(full, has_bc=True)


def test_the_tiny_models_differ() -> None:
    """Or the comparison above could not tell policy and clone apart."""
    first, second = (tiny_policy(seed) for seed in (1, 2))
    assert not torch.equal(first.lm_head.weight, second.lm_head.weight)
