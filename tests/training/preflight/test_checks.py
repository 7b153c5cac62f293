"""What is bound to fail is said before it does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envs.errors import ConfigError
from envs.scenarios import FAMILIES
from tests.tiny_models import four_words
from training.cli.compose import compose
from training.preflight import checks as preflight
from training.preflight.checks import (
    check_before_start,
    check_model,
    check_output,
    check_packages,
    check_policy_reads_scenes,
    check_resume,
)


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ([], "that folder has no config.json"),
        (["model.safetensors"], "that folder has no config.json"),
        (["config.json"], "that folder has no *.safetensors weights"),
        (["config.json", "pytorch_model.bin"], "that folder has no *.safetensors weights"),
    ],
)
def test_half_a_model_is_refused(tmp_path: Path, files: list[str], fault: str) -> None:
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(ConfigError) as caught:
        check_model(str(tmp_path))
    assert fault in str(caught.value)


def test_a_whole_model_passes(tmp_path: Path) -> None:
    four_words().save_pretrained(tmp_path)
    check_model(str(tmp_path))
    check_model("embedded")


@pytest.mark.parametrize(
    ("words", "shown"), [(("coins",), "coins;"), (tuple("abcdefg"), "a, b, c, d, e, ...;")]
)
def test_words_that_the_shipped_model_does_not_know_are_named(
    words: tuple[str, ...], shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    coins = replace(FAMILIES["price"], name="coins", words=("offer", *words))
    monkeypatch.setitem(FAMILIES._found, "coins", coins)
    config = compose(["+env.families.coins=1"])
    with pytest.raises(ConfigError, match=f"words of the family coins: {shown} choose policy=sc"):
        check_policy_reads_scenes(config)
    check_policy_reads_scenes(compose(["+env.families.coins=1", "policy=scratch"]))


def test_the_output_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    check_output(str(tmp_path / "a" / "b"))
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_run_with_its_files_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ConfigError, match=r"store\.sqlite does not exist"):
        check_resume(str(tmp_path))
    (tmp_path / "store.sqlite").touch()
    check_resume(str(tmp_path))


def test_our_own_packages_are_found_where_they_belong() -> None:
    check_packages()


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("engine=vllm", "vllm is not installed; install it by pip install 'vllm>="),
        ("lora.rank=8", "peft is not installed; install it by pip install 'peft>="),
    ],
)
def test_a_library_that_is_not_there_is_named_but_in_a_dry_run(
    word: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = preflight.find_spec
    absent = ("vllm", "peft")
    monkeypatch.setattr(preflight, "find_spec", lambda n: None if n in absent else there(n))
    words = [word, f"output_root={tmp_path}"]
    with pytest.raises(ConfigError, match=fault):
        check_before_start(compose(words))
    check_before_start(compose([*words, "dry_run=true"]))
