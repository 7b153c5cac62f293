"""A run's folder: made whole, resumed only with the options it was made with."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from envs.errors import ConfigError, DataError, DiskError, StoreError
from training.storage.run import Run, _point_to
from training.storage.run_files import read_metrics, read_result
from training.storage.run_options import read_config

CONFIG: dict[str, Any] = {
    "seed": 0,
    "iterations": 4,
    "resume": None,
    "env": {"families": {"plans": 0.3, "price": 0.7}, "max_turns": 16},
    "objective": {"name": "sdpo", "beta": 0.3},
    "logger": {"name": "jsonl"},
}


def _save(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_text("w")


def test_a_new_run(tmp_path: Path) -> None:
    with Run.create(tmp_path / "outputs", CONFIG) as run:
        assert yaml.safe_load((run.folder / "config.yaml").read_text()) == CONFIG
        assert (run.folder / "store.sqlite").is_file()
        assert (tmp_path / "outputs" / "latest").resolve() == run.folder
        assert run.last_committed() is None
        assert run.latest_checkpoint() is None
        assert list(run.remaining_iterations(3)) == [1, 2, 3]


def test_an_option_that_there_was_not_yet_does_not_hinder_unless_it_is_set(tmp_path: Path) -> None:
    with Run.create(tmp_path, CONFIG) as run:
        resume = {"resume": str(run.folder)}
    newer = {**CONFIG["env"], "path": None}
    Run.open({**CONFIG, "env": newer, **resume}).close()
    with pytest.raises(ConfigError, match=r"env\.path was not set and is \"a\""):
        Run.open({**CONFIG, "env": {**newer, "path": "a"}, **resume})


def test_latest_follows_the_newest_and_names_do_not_clash(tmp_path: Path) -> None:
    folders = []
    for _ in range(3):  # within one second
        with Run.create(tmp_path, CONFIG) as run:
            folders.append(run.folder)
            assert (tmp_path / "latest").resolve() == run.folder
    assert len(set(folders)) == 3
    assert sorted(folders) == folders


def test_commit_and_go_on(tmp_path: Path) -> None:
    with Run.create(tmp_path, CONFIG) as run:
        run.commit(0, {"loss": 2.0}, _save)
        run.commit(1, {"loss": 1.5}, _save)
        with pytest.raises(ZeroDivisionError):  # killed before the checkpoint of 2 was there
            run.commit(2, {"loss": 1.0}, lambda folder: 1 // 0)
    with Run.open({**CONFIG, "resume": str(tmp_path / "latest")}) as run:
        assert run.last_committed() == 1
        assert run.latest_checkpoint() == run.folder / "checkpoints" / "0001"
        assert list(run.remaining_iterations(4)) == [2, 3, 4]
        assert read_metrics(run.folder) == [
            {"loss": 2.0, "iteration": 0},
            {"loss": 1.5, "iteration": 1},
        ]
        run.commit(2, {}, _save)
        run.commit(3, {}, _save)
        assert list(run.remaining_iterations(3)) == []


def test_without_resume_a_run_is_started(tmp_path: Path) -> None:
    with Run.open({**CONFIG, "output_root": str(tmp_path)}) as run:
        assert run.folder.parent == tmp_path


def test_metrics_of_an_iteration_are_replaced(tmp_path: Path) -> None:
    with Run.create(tmp_path, CONFIG) as run:
        run.append_metrics({"iteration": 1, "loss": 3.0})
        run.append_metrics({"iteration": 0, "words": "über"})
        run.append_metrics({"iteration": 1, "loss": float("nan")})
        lines = (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == [
            {"iteration": 0, "words": "über"},
            {"iteration": 1, "loss": None},  # NaN is no JSON
        ]


@pytest.mark.parametrize("left", [None, "", '{"iteration": 0}\n{"itera', '{"iteration": 9}\n'])
def test_metrics_are_kept_in_the_store_and_written_anew(tmp_path: Path, left: str | None) -> None:
    with Run.create(tmp_path, CONFIG) as run:
        for iteration in range(3):
            run.commit(iteration, {"loss": 0.1 * iteration}, _save)
    file = run.folder / "metrics.jsonl"
    whole = file.read_text()
    file.unlink() if left is None else file.write_text(left)
    assert read_metrics(run.folder) == [json.loads(line) for line in whole.splitlines()]
    Run.resume(run.folder, CONFIG).close()
    assert file.read_text() == whole


def _as_before_metrics_were_kept(folder: Path) -> None:
    with sqlite3.connect(folder / "store.sqlite") as db:
        db.execute("DELETE FROM steps WHERE name = 'metrics.jsonl'")
        db.execute("DROP TABLE digests")
        db.execute("PRAGMA user_version = 3")
    db.close()


def test_metrics_of_an_earlier_release_are_taken_over_or_their_lack_is_named(
    tmp_path: Path,
) -> None:
    with Run.create(tmp_path, CONFIG) as run:
        for iteration in range(3):
            run.commit(iteration, {"loss": 1.0}, _save)
    file = run.folder / "metrics.jsonl"
    whole = file.read_text()
    _as_before_metrics_were_kept(run.folder)
    file.write_text(whole[: whole.index('"iteration": 2')])
    with pytest.raises(DataError, match=r"Line 3 of .*metrics\.jsonl is no record"):
        read_metrics(run.folder)
    file.write_text("".join(whole.splitlines(keepends=True)[:1]))
    with pytest.raises(DataError, match=r"metrics\.jsonl has no line for iteration 1, 2"):
        read_metrics(run.folder)
    file.write_text(whole)
    Run.resume(run.folder, CONFIG).close()
    file.unlink()
    assert len(read_metrics(run.folder)) == 3


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (None, "is missing, though the run wrote it"),
        ("", "is not JSON"),
        ('{"policies": {', "is not JSON"),
        ('{"unscored": 3}', "is not what the run wrote"),
    ],
)
def test_results_that_are_not_what_the_run_wrote_are_named(
    tmp_path: Path, left: str | None, said: str
) -> None:
    with Run.create(tmp_path, CONFIG) as run:
        run.write_summary({"unscored": 2})
        run.write_measures({"final": {}})
    assert read_result(run.folder, "summary.json") == {"unscored": 2}
    for name in ("summary.json", "measures.json"):
        file = run.folder / name
        file.unlink() if left is None else file.write_text(left)
        with pytest.raises(DataError, match=f"{name} {said}.*resume="):
            read_result(run.folder, name)


def test_summary_is_replaced(tmp_path: Path) -> None:
    with Run.create(tmp_path, CONFIG) as run:
        run.write_summary({"unscored": 1, "policies": {}})
        run.write_summary({"unscored": 2})
        assert json.loads((run.folder / "summary.json").read_text()) == {"unscored": 2}
        assert not list(run.folder.glob(".*"))  # no half-written files are left


def test_resume_lists_what_differs(tmp_path: Path) -> None:
    Run.create(tmp_path, CONFIG).close()
    changed = {
        **CONFIG,
        "env": {"families": {"plans": 0.3, "camp": 0.7}, "max_turns": 16},
        "objective": {"name": "sdpo", "beta": 0.1},
    }
    with pytest.raises(ConfigError) as raised:
        Run.resume(tmp_path / "latest", changed)
    said = str(raised.value)
    assert "env.families.camp was not set and is 0.7" in said
    assert "env.families.price was 0.7 and is not set" in said
    assert "objective.beta was 0.3 and is 0.1" in said
    assert "max_turns" not in said


def test_a_store_that_was_emptied_is_not_filled_anew(tmp_path: Path) -> None:
    with Run.create(tmp_path, {}) as run:
        folder = run.folder
    os.truncate(folder / "store.sqlite", 0)
    with Run.resume(folder, {}):  # a process died as it made the store: nothing is lost
        pass
    (folder / "checkpoints" / "0000").mkdir()
    os.truncate(folder / "store.sqlite", 0)
    with pytest.raises(StoreError, match="is empty, though the run has checkpoints"):
        Run.resume(folder, {})


def test_resume_allows_what_came_later_and_changes_nothing(tmp_path: Path) -> None:
    Run.create(tmp_path, CONFIG).close()
    later = {**CONFIG["env"], "order": "round_robin", "difficulty": "medium"}
    Run.resume(tmp_path / "latest", {**CONFIG, "env": later}).close()
    with pytest.raises(ConfigError, match=r'env\.order was not set and is "random"'):
        Run.resume(tmp_path / "latest", {**CONFIG, "env": {**later, "order": "random"}})


def test_resume_allows_what_does_not_matter(tmp_path: Path) -> None:
    Run.create(tmp_path, CONFIG).close()
    logger = {"name": "wandb", "project": "parley"}
    other = {**CONFIG, "resume": "x", "iterations": 9, "threads": 2, "logger": logger}
    with Run.resume(tmp_path / "latest", other) as run:
        assert len(run.remaining_iterations(other["iterations"])) == 9


def test_only_runs_can_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere is not a run, for it has no config\.yaml"):
        Run.resume(tmp_path / "nowhere", CONFIG)
    (tmp_path / "config.yaml").write_text("seed: 0")
    with pytest.raises(ConfigError, match=r"has no store\.sqlite"):
        Run.resume(tmp_path, CONFIG)
    (tmp_path / "store.sqlite").touch()
    for text in ("[", "- 1"):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"config\.yaml (is not YAML|holds no options)"):
            Run.resume(tmp_path, CONFIG)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"no run can be made in .*file.*set output_root"):
        Run.create(tmp_path / "file", CONFIG)


def test_a_link_that_cannot_be_made_ends_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "latest").mkdir()  # what a copy without links may leave
    with Run.create(tmp_path, CONFIG) as run:
        run.commit(0, {}, _save)
    assert "latest cannot be pointed at" in caplog.text
    assert not list(tmp_path.glob(".*"))


def test_runs_of_one_second_do_not_meet_at_the_link(tmp_path: Path) -> None:
    link = tmp_path / "latest"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: _point_to(link, f"run{n}"), range(400)))
    assert link.readlink().name.startswith("run")
    assert list(tmp_path.iterdir()) == [link]


def test_latest_stays_where_it_was_when_a_run_fails_at_once(tmp_path: Path) -> None:
    link = tmp_path / "latest"
    with pytest.raises(ZeroDivisionError), Run.create(tmp_path, CONFIG):
        raise ZeroDivisionError
    assert not link.is_symlink()
    with Run.create(tmp_path, CONFIG) as good:
        pass
    with pytest.raises(ZeroDivisionError), Run.create(tmp_path, CONFIG):
        raise ZeroDivisionError
    assert link.resolve() == good.folder
    with pytest.raises(ZeroDivisionError), Run.create(tmp_path, CONFIG) as later:
        _commit_and_fail(later)
    assert link.resolve() == later.folder, "there is something to go on with"
    with pytest.raises(KeyboardInterrupt), Run.create(tmp_path, CONFIG) as stopped:
        raise KeyboardInterrupt
    assert link.resolve() == stopped.folder, "it did not fail"


def _commit_and_fail(run: Run) -> None:
    run.commit(0, {}, _save)
    raise ZeroDivisionError


def _aged(path: Path, hours: float) -> Path:
    """Make a file or folder look as if nothing had changed in it for so long."""
    then = time.time() - hours * 3600
    for inside in (*path.rglob("*"), path):
        os.utime(inside, (then, then))
    return path


def _made(path: Path, hours: float) -> Path:
    path.mkdir(parents=True)
    (path / "model.safetensors").write_text("half")
    return _aged(path, hours)


def test_what_killed_processes_left_is_removed_and_nothing_that_is_in_use(tmp_path: Path) -> None:
    clone, cache = "clone-0123456789abcdef", tmp_path / "cache"
    under_way = f"{clone}.under-way.safetensors"
    kept, gone = [_made(cache / clone, 999)], []
    for name, days in (("new", 0.5), ("old", 2.0)):
        found = gone if name == "old" else kept
        found += [
            _made(cache / f".{clone}.{name}.part", days * 24),
            _made(cache / f"{clone}-{name}", days * 24),
        ]
        file = cache / f"{under_way}.{name}"
        file.write_text("half")
        found.append(_aged(file, days * 24))
        dead = tmp_path / f"2026-01-01_00-00-0{days * 2:.0f}"
        (dead / "checkpoints").mkdir(parents=True)
        (dead / "config.yaml").write_text("seed: 0")
        found.append(_aged(dead, days * 24))
    for file, found in ((cache / under_way, gone), (cache / under_way.replace("0", "9"), kept)):
        file.write_text("weights")  # the stage of the second is not finished
        found.append(_aged(file, 999))
    with Run.create(tmp_path / "other", CONFIG) as run:
        pass
    kept.append(_aged(run.folder.rename(tmp_path / "2026-01-01_00-00-00"), 999))
    for name in (".bashrc.old", ".mail.part", "2026-holidays_greece"):
        (tmp_path / name).mkdir()  # an output root may be anybody's folder
        kept.append(_aged(tmp_path / name, 999))
    notes = tmp_path / "2026-01-02_00-00-00"
    notes.mkdir()
    (notes / "notes.txt").write_text("not ours")
    kept.append(_aged(notes, 999))
    Run.create(tmp_path, CONFIG).close()
    assert [path.name for path in kept if not path.exists()] == []
    assert [path.name for path in gone if path.exists()] == []


def test_a_full_disk_is_a_sentence_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Run.create(tmp_path, CONFIG) as run:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(DiskError, match=r"summary\.json cannot be written \(No space left"):
            run.write_summary({})
        assert not list(run.folder.glob(".*"))


def test_a_run_is_written_by_one_at_a_time(tmp_path: Path) -> None:
    with Run.create(tmp_path, CONFIG) as run, pytest.raises(StoreError, match="one writer"):
        Run.resume(run.folder, CONFIG)


BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9)
)


@pytest.mark.parametrize("text", [BOMB, "a: &a [*a]", "[" * 5000 + "]" * 5000])
def test_a_configuration_of_billions_of_values_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"is not YAML \(it (has more than|is nested)"):
        read_config(file)


def test_aliases_within_reason_are_read(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("a: &a [1, 2]\nb: *a\n")
    assert read_config(file) == {"a": [1, 2], "b": [1, 2]}


def test_times_are_those_of_all_processes(tmp_path: Path) -> None:
    with Run.create(tmp_path, CONFIG) as run:
        run.keep_times({"clone": 2.0})
        run.keep_times({"clone": 2.0, "collect": 1.0})  # the same process, later
        assert run.times({"clone": 2.0, "collect": 1.5}) == {"clone": 2.0, "collect": 1.5}
    with Run.resume(run.folder, CONFIG) as run:
        assert run.times({"collect": 4.0}) == {"clone": 2.0, "collect": 5.0}
        run.keep_times({"collect": 4.0})
    with Run.resume(run.folder, CONFIG) as run:
        assert run.times({}) == {"clone": 2.0, "collect": 5.0}


def test_whoever_shows_an_error_can_say_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as stopped, Run.create(tmp_path, CONFIG) as run:
        raise KeyboardInterrupt
    assert stopped.value.__notes__ == [f"resume={run.folder}"]
