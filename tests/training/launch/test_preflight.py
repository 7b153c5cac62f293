"""What is bound to fail is said before it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from envs.errors import ConfigError
from training.launch.preflight import check_model, check_output, check_packages, check_resume


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
    for name in ("config.json", "model-00001-of-00002.safetensors"):
        (tmp_path / name).touch()
    check_model(str(tmp_path))
    check_model("embedded")


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
