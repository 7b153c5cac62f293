"""What `parley doctor` says of a machine: what works, what can be added, what must be mended."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import doctor
from training.preflight import examination
from training.preflight.examination import Finding, examine


def by_name(root: Path) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(root)}


def test_a_machine_that_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        doctor.main(["--output-root", str(tmp_path / "not" / "there")])
    said = capsys.readouterr().out
    assert ended.value.code == 0, said
    for what in ("Python", "packages", "torch", "CPU", "memory", "disk", "an episode"):
        assert f"works  {what:<12} " in said
    assert "FAILS" not in said


def test_what_is_absent_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "packages_of", lambda extra: ("no-such-package>=3",))
    found = by_name(tmp_path)["extra gguf"]
    assert (found.state, found.said) == ("absent", "no no-such-package")
    assert found.advice.startswith("pip install ")


def test_keys_are_named_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in examination.KEYS:
        monkeypatch.delenv(name, raising=False)
    assert by_name(tmp_path)["keys"].state == "absent"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    found = by_name(tmp_path)["keys"]
    assert (found.state, found.said) == ("works", "OPENAI_API_KEY set")


def test_too_little_memory_and_a_full_disk_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(examination, "LEAST_MEMORY", 2**60)
    monkeypatch.setattr(examination, "LEAST_DISK", 2**60)
    found = by_name(tmp_path)
    assert found["memory"].state == found["disk"].state == "FAILS"
    assert "output_root=FOLDER" in found["disk"].advice
    monkeypatch.setattr(doctor, "_episode", lambda: Finding("an episode", "works", ""))
    assert doctor.examine_all(tmp_path, None) == 1
    assert "FAILS  memory" in capsys.readouterr().out


def test_a_server_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "_episode", lambda: Finding("an episode", "works", ""))
    assert doctor.examine_all(tmp_path, "http://127.0.0.1:9/v1") == 1
    assert "no server can be reached there" in capsys.readouterr().out
