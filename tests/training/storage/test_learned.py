"""A checkpoint remembers how its turns were learned, and is asked in that way again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from agents.embedded import make_tokenizer
from envs.errors import CheckpointError, ConfigError
from tests.tiny_models import tiny_policy
from training.cli.compose import compose
from training.cli.model_choice import with_model_options
from training.preflight.checks import check_before_start
from training.storage.checkpoint import save_checkpoint
from training.storage.learned import (
    LEARNED,
    Player,
    check_learned,
    contradictions,
    learned_options,
    learned_with,
)
from training.storage.manifest import verify_checkpoint

FULL = {
    "prompt_style": "full",
    "max_new_tokens": 48,
    "thinking": True,
    "prose_is_speech": False,
    "constrained": False,
}


@pytest.fixture
def saved(tmp_path: Path) -> str:
    """A checkpoint of a small model's run, with a record of its own."""
    policy = compose(["policy.max_new_tokens=12"]).policy
    folder = tmp_path / "run" / "checkpoints" / "0002"
    model, tokenizer = tiny_policy(), make_tokenizer()
    save_checkpoint(folder, model, tokenizer, {}, learned=learned_with(policy))
    return str(folder)


@pytest.fixture
def large(tmp_path: Path) -> str:
    """What matters here of the checkpoint of a large one."""
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / LEARNED).write_text(json.dumps(FULL))
    return str(folder)


def test_a_checkpoint_keeps_what_it_learned_with(saved: str) -> None:
    assert learned_options(saved) == {
        "prompt_style": "brief",
        "profiles": "full",
        "max_new_tokens": 12,
        "thinking": False,
        "prose_is_speech": True,
        "constrained": False,
    }
    verify_checkpoint(saved)
    (Path(saved) / LEARNED).write_text("{")
    with pytest.raises(CheckpointError, match=r"learned\.json is not JSON"):
        learned_options(saved)


def test_an_older_checkpoint_is_known_by_its_run(saved: str) -> None:
    (Path(saved) / LEARNED).unlink()
    assert learned_options(saved) == {}
    run = Path(saved).parents[1] / "config.yaml"
    run.write_text(yaml.safe_dump({"policy": {"prompt_style": "full", "max_new_tokens": 9}}))
    assert learned_options(saved) == {
        "prompt_style": "full",
        "max_new_tokens": 9,
        "constrained": False,
    }
    assert learned_options(saved.replace("0002", "0009")) == {}, "there is no such checkpoint"


def test_a_name_alone_chooses_the_options(saved: str, large: str, tmp_path: Path) -> None:
    own, checkpoint, other = (
        compose([f"policy.name={name}"]).policy for name in (saved, large, tmp_path)
    )
    assert (own.prompt_style, own.max_new_tokens, own.thinking) == ("brief", 12, False)
    assert {name: getattr(checkpoint, name) for name in FULL} == FULL
    assert (other.prompt_style, other.max_new_tokens) == ("full", 128)
    assert own.name == saved


def test_a_partners_name_chooses_too(large: str, tmp_path: Path) -> None:
    for words in ([], ["partner=checkpoint"]):
        partner = compose([*words, f"partner.checkpoint.name={large}"]).partner
        assert partner.weights == {"checkpoint": 1.0}
        assert partner.checkpoint is not None
        assert {name: getattr(partner.checkpoint, name) for name in FULL} == FULL
    other = compose([f"partner.checkpoint.name={tmp_path}"]).partner.checkpoint
    assert other is not None
    assert (other.prompt_style, other.max_new_tokens) == ("full", 256)


def test_a_demonstrators_name_chooses_too(saved: str, tmp_path: Path) -> None:
    config = compose([f"demonstrations.checkpoint.name={saved}"])
    assert config.demonstrations.name == "self_chat_checkpoint"
    assert config.demonstrator is not None
    assert (config.demonstrator.prompt_style, config.demonstrator.max_new_tokens) == ("brief", 12)
    other = compose([f"demonstrations.checkpoint.name={tmp_path}"])
    assert other.demonstrator is not None
    assert other.demonstrator.prompt_style == "full"
    assert (
        compose([f"demonstrations.checkpoint.name={saved}", "cloning.dialogues=0"]).demonstrator
        is None
    )


def test_what_was_chosen_is_said(saved: str, tmp_path: Path) -> None:
    (note,) = with_model_options([f"policy.name={saved}"]).notes
    learned = (
        "policy.prompt_style=brief policy.max_new_tokens=12 policy.thinking=false "
        "policy.prose_is_speech=true policy.profiles=full policy.constrained=false"
    )
    assert note == f"policy.name is a checkpoint, trained with {learned}."
    (note,) = with_model_options([f"policy.name={tmp_path}", "seed=1"]).notes
    assert "so policy=checkpoint is chosen" in note


@pytest.mark.parametrize(
    "words",
    [
        ["policy=checkpoint", "policy.name=some/folder"],
        ["policy.name=embedded"],
        ["seed=1"],
        ["policy=api", "policy.model.name=some-model"],
    ],
)
def test_what_the_command_line_says_is_left_as_it_is(words: list[str]) -> None:
    if words == ["policy.name=embedded"]:
        assert compose(words) == compose([])
    else:
        assert with_model_options(words).words == tuple(words)
        assert with_model_options(words).notes == ()


def test_an_explicit_option_comes_first_and_is_doubted(saved: str) -> None:
    config = compose([f"policy.name={saved}", "policy.max_new_tokens=99"])
    assert config.policy.max_new_tokens == 99
    (doubt,) = contradictions(config)
    assert doubt.startswith("policy.max_new_tokens is 99, but ")
    assert "was trained with 12; leave the option out" in doubt
    assert contradictions(compose([f"policy.name={saved}"])) == []


@pytest.mark.parametrize("section", ["policy", "partner.checkpoint", "demonstrations.checkpoint"])
def test_another_style_is_refused(saved: str, tmp_path: Path, section: str) -> None:
    config = compose([f"{section}.name={saved}", f"{section}.prompt_style=full"])
    with pytest.raises(ConfigError) as caught:
        check_before_start(replace(config, output_root=str(tmp_path)))
    assert f"{section}.prompt_style is full, but {saved} learned to answer in" in str(caught.value)
    assert f"set {section}.prompt_style=brief {section}.max_new_tokens=12" in str(caught.value)
    check_learned(Player("policy", compose([f"policy.name={saved}"]).policy))


def test_a_sweep_is_over_models_of_one_kind(saved: str, large: str) -> None:
    words = with_model_options(["-m", f"policy.name={large},{large}"]).words
    assert words[0] == "policy=checkpoint"
    for names in (f"{large},{saved}", f"embedded,{large}"):
        with pytest.raises(ConfigError, match="models that are asked in different ways"):
            with_model_options(["-m", f"policy.name={names}"])
