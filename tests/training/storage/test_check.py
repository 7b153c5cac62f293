"""`python -m training.store check` tells what is right in a run's folder and what isn't."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.training.played import group, played
from training.storage.files import to_json, write_text
from training.storage.manifest import MANIFEST
from training.storage.run import Run
from training.store import main


def _save(folder: Path) -> None:
    """A checkpoint as far as its manifest goes."""
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_text("w")
    sums = {"weights": "50e721e49c013f00c62cf59f2163542a9d8df02464efeb615d31051b0fddc326"}
    write_text(folder / MANIFEST, to_json({"sha256": sums}))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    with Run.create(tmp_path, {"seed": 0}) as run:
        trunk = played("trunk")
        with run.store.wave("collect", 1, 0) as wave:
            wave.add_episodes([trunk])
        with run.store.wave("branch", 1, 0) as wave:
            wave.add_groups([group("g0", trunk)])
        for iteration in range(2):
            run.commit(iteration, {"loss": 1.0}, _save)
        run.write_measures({"final": {}})
        run.write_summary({"unscored": 0})
    return run.folder


def check(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], list[str]]:
    """The command's exit code, what it calls right and what it calls wrong."""
    with pytest.raises(SystemExit) as ended:
        main(["check", str(folder)])
    lines = capsys.readouterr().out.splitlines()
    right, wrong = ([x[7:] for x in lines if x.startswith(w)] for w in ("right", "WRONG"))
    assert len(right) + len(wrong) == len(lines)
    assert isinstance(ended.value.code, int)
    return ended.value.code, right, wrong


def test_an_intact_run_is_right(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, right, wrong = check(run_dir, capsys)
    assert (code, wrong) == (0, [])
    assert "store.sqlite, table episodes: 4 rows, as written" in right
    assert {line.split(":")[0] for line in right} >= {
        *("config.yaml", "store.sqlite", "metrics.jsonl", "summary.json", "measures.json"),
        *("checkpoints/0000", "checkpoints/0001"),
    }


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("UPDATE generations SET logps = zeroblob(8)", "store.sqlite, table generations"),
        ("DELETE FROM steps", "store.sqlite, table steps"),
        ("DELETE FROM branches", "store.sqlite, table branches"),
    ],
)
def test_damage_in_the_store_is_named(
    run_dir: Path, sql: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(run_dir / "store.sqlite") as db:
        db.execute(sql)
    db.close()
    code, right, wrong = check(run_dir, capsys)
    assert code == 1
    assert named in {line.split(":")[0] for line in wrong}
    assert "store.sqlite, table episodes: 4 rows, as written" in right


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "metrics.jsonl", "summary.json", "measures.json", "checkpoints/0001/weights"],
)
@pytest.mark.parametrize("left", [None, "x"])
def test_damage_in_a_file_is_named(
    run_dir: Path, name: str, left: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run_dir / name
    file.unlink() if left is None else file.write_text(left)
    code, _, (wrong,) = check(run_dir, capsys)
    assert code == 1
    assert wrong.startswith(name.removesuffix("/weights"))


def test_what_cannot_be_opened_is_told_too(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_dir / "store.sqlite").write_text("no database " * 99)
    code, right, wrong = check(run_dir, capsys)
    assert code == 1
    assert any("not a database" in line for line in wrong)
    assert any(line.startswith("config.yaml") for line in right)
    with pytest.raises(SystemExit, match="2"):
        main(["check", str(run_dir.parent)])
    assert "is not a run" in capsys.readouterr().err


def test_a_store_without_digests_is_said_to_have_none(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(run_dir / "store.sqlite") as db:
        db.execute("DROP TABLE digests")
        db.execute("PRAGMA user_version = 3")
    db.close()
    code, right, _ = check(run_dir, capsys)
    assert code == 0
    assert any("table episodes: 4 rows, readable; an earlier release" in line for line in right)
