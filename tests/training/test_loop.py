"""The whole loop on a CPU: what a run leaves behind, and that no stop changes what it learns."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from engines.weights import weights_version
from envs.errors import ConfigError, StoreError
from envs.scenarios import scenario_of
from judges.base import DIMENSION_RANGES
from tests.training.quick import SMALL_RUN, without_reports
from training.cli.compose import compose
from training.cli.run import EXIT_INTERRUPTED
from training.loggers import WandbOptions, wandb
from training.loop import train
from training.report.page import write_report
from training.storage.checkpoint import load_checkpoint
from training.storage.manifest import verify_checkpoint
from training.storage.run_files import COMMIT, read_metrics
from training.storage.store import Store

ROOT = Path(__file__).resolve().parents[2]
PARTNERS = {"self", "frozen_bc", "experts"}

SMALL = (
    "+experiment=sotopia_sdpo",
    *SMALL_RUN,
    "iterations=2",
    "branch.points=6",
    "branch.continuations=3",
    "pairing.margin=0.1",
    "evaluation.scenarios=4",
    "evaluation.curve_scenarios=2",
    "evaluation.every=1",
    "evaluation.stubborn_bias=2.0",
)
"""Two iterations in a few seconds."""


def run(root: Path, *words: str) -> Path:
    """Train in this process; returns the run's folder."""
    train(compose([*SMALL, f"output_root={root}", *words]))
    return (root / "latest").resolve()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output root that the runs share, and with it the cached clone."""
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def finished(root: Path) -> Path:
    """A run that nobody stopped; look, but do not write."""
    return run(root)


@pytest.fixture
def fresh(finished: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another output root, in which the same clone is cached; reports take a second each."""
    without_reports(monkeypatch)
    shutil.copytree(root / "cache", tmp_path / "cache")
    return tmp_path


def summary_of(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return loaded


def assert_same_run(one: Path, other: Path) -> None:
    """Equal weights, metrics, examples, episodes and results; only the clock may differ."""
    for iteration in ("0000", "0001", "0002"):
        checkpoint = Path("checkpoints", iteration)
        assert weights_version(one / checkpoint) == weights_version(other / checkpoint)
    assert read_metrics(one) == read_metrics(other)
    assert summary_of(one) | {"wall_s": 0} == summary_of(other) | {"wall_s": 0}
    with (
        Store.read_only(one / "store.sqlite", scenario_of) as store,
        Store.read_only(other / "store.sqlite", scenario_of) as twin,
    ):
        assert sorted(store.waves()) == sorted(twin.waves())
        assert store.drops() == twin.drops()
        for iteration in (1, 2):
            assert store.examples(iteration) == twin.examples(iteration)
            assert store.groups(iteration) == twin.groups(iteration)


# What a run leaves behind


def test_a_run_directory_has_everything(finished: Path, root: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names >= {"config.yaml", "store.sqlite", "metrics.jsonl", "summary.json", "report.html"}
    assert (root / "latest").is_symlink()
    assert (root / "latest").resolve() == finished
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == [
        "0000",
        "0001",
        "0002",
    ]
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert config["cloning"]["dialogues"] == 300
    assert config["env"]["families"] == {"plans": 1.0}


def test_metrics_have_a_line_an_iteration(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [0, 1, 2]
    for line in lines[1:]:
        assert line["episodes"] == 12
        assert 0 < line["examples"] <= line["groups"] <= 6, "the rest of this file needs examples"
        assert line["update"]["steps"] >= 1
        assert math.isfinite(line["update"]["loss"])
        assert set(line["evaluation"]) == PARTNERS
        assert line["evaluation"]["self"]["goal"]["n"] == 2


def test_checkpoints_are_the_published_weights_and_load_anywhere(finished: Path) -> None:
    versions = []
    for line in read_metrics(finished)[1:]:
        folder = finished / "checkpoints" / f"{line['iteration']:04d}"
        verify_checkpoint(folder)
        assert weights_version(folder) == line["weights_version"]
        assert load_checkpoint(folder).trainer_state == {"iteration": line["iteration"]}
        versions.append(line["weights_version"])
    assert len({weights_version(finished / "checkpoints" / "0000"), *versions}) == 3, "it learned"

    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    prompt = tokenizer("i like <eos>", return_tensors="pt")
    with torch.inference_mode():
        logits = model(input_ids=prompt["input_ids"]).logits
    assert logits.shape == (1, 3, len(tokenizer))
    assert logits.isfinite().all()


def test_the_summary_compares_all_policies_with_all_partners(finished: Path) -> None:
    summary = summary_of(finished)
    assert (summary["split"], summary["scenarios"], summary["iterations"]) == ("test", 4, 2)
    assert set(summary["policies"]) == {"bc", "final", "stubborn"}
    metrics = {*DIMENSION_RANGES, "joint_welfare", "deal_rate", "words_per_turn"}
    for partners in (*summary["policies"].values(), summary["paired"]):
        assert set(partners) == PARTNERS
        for found in partners.values():
            assert metrics <= set(found)
            nats = found.pop("constraint_nats")
            assert nats["mean"] is None, "the small model's turns are free"
            assert all(_is_stat(stat, n=4) for stat in found.values())
    assert summary["unscored"] == 0
    assert summary["wall_s"].keys() >= {"clone", "collect", "branch", "update", "evaluate"}
    assert all(seconds >= 0 for seconds in summary["wall_s"].values())
    for partner in PARTNERS:  # the difference of the means is the mean of the differences
        bc, final = (summary["policies"][name][partner]["goal"]["mean"] for name in ("bc", "final"))
        assert summary["paired"][partner]["goal"]["mean"] == pytest.approx(final - bc)


def _is_stat(stat: Mapping[str, Any], n: int) -> bool:
    low, high = stat["ci95"]
    return stat.keys() == {"mean", "ci95", "n"} and stat["n"] == n and low <= stat["mean"] <= high


def test_every_generated_turn_is_stored_with_what_made_it(finished: Path) -> None:
    version = weights_version(finished / "checkpoints" / "0001")
    with Store.read_only(finished / "store.sqlite", scenario_of) as store:
        for played in store.episodes("collect", 2):
            for turn, made in zip(played.episode.turns, played.generations, strict=True):
                name = played.players[turn.seat]
                assert (made is None) == name.startswith("experts")
                if made is not None:
                    assert len(made.logps) == len(made.token_ids) > 0
                    assert made.sampling.temperature == 1.0
                if made is not None and name == "policy":
                    assert made.weights_version == version, "played by the published weights"
        ids = {group.id for group in store.groups(1) + store.groups(2)}
        examples = store.examples(1) + store.examples(2)
        assert {example.group_id for example in examples} <= ids


def test_the_clone_is_cached(finished: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise AssertionError("stage 0 was trained again")

    monkeypatch.setattr("training.learning.stage0.clone", fail)
    again = run(fresh)
    assert_same_run(finished, again)  # and the same command gives the same weights
    with pytest.raises(AssertionError, match="trained again"):
        run(fresh, "cloning.lr=0.001")


# Stopping and going on


def start(root: Path, *words: str) -> subprocess.Popen[str]:
    """The command as a person types it."""
    return subprocess.Popen(
        [sys.executable, "-m", "training.loop", *SMALL, f"output_root={root}", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A parent in the background may have switched Ctrl-C off for all its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def stop_after(waves: int, process: subprocess.Popen[str], root: Path, how: signal.Signals) -> str:
    """Send a signal as soon as the store holds that many waves; returns what stderr said."""
    deadline = time.monotonic() + 120
    while _waves(root) < waves:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(how)
    stderr = process.communicate(timeout=60)[1]
    assert not (root / "latest" / "summary.json").exists(), "stopped too late to prove anything"
    return stderr


def _waves(root: Path) -> int:
    try:
        with Store.read_only(root / "latest" / "store.sqlite") as store:
            return len(store.waves())
    except StoreError:  # not there yet
        return 0


def assert_consistent(folder: Path) -> None:
    """No half wave: SQLite is content, and all episodes of a finished wave are there."""
    db = sqlite3.connect(folder / "store.sqlite")
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    counts = db.execute("SELECT COUNT(*) FROM episodes WHERE phase = 'collect' GROUP BY wave")
    assert {count % 6 for (count,) in counts} == {0}
    db.close()
    assert not (folder / "checkpoints" / "0002").exists()


@pytest.mark.slow
def test_stopped_and_killed_it_ends_in_the_same_weights(finished: Path, fresh: Path) -> None:
    process = start(fresh)
    stderr = stop_after(4, process, fresh, signal.SIGINT)  # three of the curve, one of self-play
    assert process.returncode == EXIT_INTERRUPTED
    assert "Traceback" not in stderr
    folder = (fresh / "latest").resolve()
    assert "Go on with: python -m training.loop +experiment=sotopia_sdpo" in stderr
    assert stderr.endswith(f" resume={folder}\n")
    assert_consistent(folder)

    process = start(fresh, f"resume={folder}")
    stop_after(12, process, fresh, signal.SIGKILL)  # in the middle of iteration 2
    assert process.returncode == -signal.SIGKILL
    assert_consistent(folder)

    assert run(fresh, f"resume={folder}") == folder, "no new run"
    assert_same_run(finished, folder)


def test_killed_between_checkpoint_and_mark_the_iteration_is_made_again(
    finished: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """What no code of ours catches."""

    set_step = Store.set_step
    words: tuple[str, ...] = ()
    for unmarked in (0, 1):

        def dies(store: Store, iteration: int, name: str, payload: object, at: int) -> None:
            if (iteration, name) == (at, COMMIT):
                raise Killed
            set_step(store, iteration, name, payload)

        monkeypatch.setattr(Store, "set_step", partialmethod(dies, at=unmarked))
        with pytest.raises(Killed):
            run(fresh, *words)
        folder = (fresh / "latest").resolve()
        assert (folder / "checkpoints" / f"{unmarked:04d}").is_dir()
        assert len(read_metrics(folder)) == unmarked + 1
        words = (f"resume={folder}",)
    monkeypatch.setattr(Store, "set_step", set_step)
    assert_same_run(finished, run(fresh, *words))


def test_a_finished_run_plays_nothing_again_and_can_be_prolonged(
    finished: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fresh / "copy"
    shutil.copytree(finished, folder)
    with monkeypatch.context() as patch:
        patch.setattr("training.play.waves.play_wave", None)
        patch.setattr("training.play.branch.branch_wave", None)
        train(compose([*SMALL, f"output_root={fresh}", f"resume={folder}"]))
    assert_same_run(finished, folder)

    longer = [word for word in SMALL if not word.startswith("iterations")]
    train(compose([*longer, "iterations=3", f"output_root={fresh}", f"resume={folder}"]))
    assert read_metrics(folder)[:3] == read_metrics(finished)
    assert [line["iteration"] for line in read_metrics(folder)] == [0, 1, 2, 3]
    assert summary_of(folder)["iterations"] == 3
    assert summary_of(folder)["policies"]["bc"] == summary_of(finished)["policies"]["bc"]


# Other ways through


def test_without_examples_the_policy_stays_as_it_was(
    fresh: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(fresh, "iterations=1", "pairing.margin=20")  # no two values are that far apart
    said = " ".join(capsys.readouterr().out.split())
    assert "alarm: Iteration 1 has nothing to learn from: none of its" in said
    (line,) = read_metrics(folder)[1:]
    assert (line["examples"], line["update"]) == (0, {})
    assert line["alarms"]["no_examples"].startswith("Iteration 1 has nothing to learn from")
    assert "ALARM: no iteration had an example to learn from" in " ".join(
        summary_of(folder)["notes"]
    )
    assert line["weights_version"] == weights_version(folder / "checkpoints" / "0000")
    with Store.read_only(folder / "store.sqlite") as store:
        dropped = sum(drop.count for drop in store.drops() if drop.stage == "pair")
    assert dropped == line["groups"] > 0
    paired = summary_of(folder)["paired"]
    # The same weights with the same seeds say the same.
    assert paired["frozen_bc"]["goal"]["mean"] == paired["experts"]["goal"]["mean"] == 0
    assert write_report(folder).is_file()


def test_no_iteration_and_no_cloning_still_end_well(tmp_path: Path) -> None:
    folder = run(tmp_path, "iterations=0", "cloning.dialogues=0", "evaluation.stubborn_bias=null")
    assert [line["iteration"] for line in read_metrics(folder)] == [0]
    assert set(summary_of(folder)["policies"]) == {"bc", "final"}
    assert not (tmp_path / "cache").exists(), "there was nothing to keep"


def test_the_win_rate_recipe_runs_too(fresh: Path) -> None:
    words = [word for word in SMALL if not word.startswith(("+experiment", "iterations"))]
    words += ["+experiment=sotopia_sppo", "iterations=1", f"output_root={fresh}"]
    train(compose([*words, "reference=bc", "partner=self"]))
    folder = (fresh / "latest").resolve()
    with Store.read_only(folder / "store.sqlite") as store:
        assert all(len(example.branches) == 4 for example in store.examples(1))
        assert store.examples(1)
        assert all(set(p.players) == {"policy"} for p in store.episodes("collect", 1))
    assert read_metrics(folder)[1]["update"]["steps"] >= 1


def test_low_rank_training_runs_too_and_ends_in_whole_models(fresh: Path) -> None:
    own = ("policy=scratch", "iterations", "cloning.dialogues", "cloning.lr")
    words = [word for word in SMALL if not word.startswith(own)]
    words += ["lora.rank=4", "iterations=1", "cloning.dialogues=30", "cloning.lr=1e-4"]
    train(compose([*words, f"output_root={fresh}"]))
    folder = (fresh / "latest").resolve()
    assert read_metrics(folder)[1]["update"]["steps"] >= 1
    clone, policy = (load_checkpoint(folder / "checkpoints" / f"000{n}").model for n in (0, 1))
    for name, before in clone.state_dict().items():
        change = policy.state_dict()[name] - before
        if "_proj" in name:
            assert 1 <= torch.linalg.matrix_rank(change.double(), rtol=1e-4) <= 4
        else:
            assert not change.any(), name


def test_another_order_and_difficulty_run_too(fresh: Path) -> None:
    few = ("iterations=1", "cloning.dialogues=60", "evaluation.scenarios=2")
    folder = run(fresh, "env.order=random", "env.difficulty=hard", *few)
    assert (summary_of(folder)["order"], summary_of(folder)["difficulty"]) == ("random", "hard")
    with Store.read_only(folder / "store.sqlite", scenario_of) as store:
        played = store.episodes("collect", 1)
        orders = {tuple(turn.seat for turn in p.episode.turns[:3]) for p in played}
        assert len(orders) > 2
        assert {p.episode.scenario.id.split("/")[0] for p in played} == {"plans-hard"}
        for group in store.groups(1):
            until = group.turn + 1
            orders = {tuple(t.seat for t in b.episode.turns[:until]) for b in group.branches}
            assert len(orders) == 1, "branches have another order than what they branch from"


def test_wandb_offline(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(fresh / "wandb"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    little = ("collect.episodes=6", "branch.points=4", "evaluation.scenarios=1")
    folder = run(fresh, "iterations=1", "logger=wandb", *little)
    (log,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    written = log.read_bytes()
    for name in (b"evaluation/self/goal", b"update/loss"):
        assert name in written
    assert os.environ.get("WANDB_MODE") is None, "the mode is the run's, not the machine's"


def test_wandb_goes_on_under_the_id_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, Any]] = []

    class Session:
        def log(self, numbers: Mapping[str, float], step: int) -> None: ...

        def finish(self) -> None: ...

    def init(**options: Any) -> Session:
        begun.append(options)
        return Session()

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    for folder in (tmp_path / "one", tmp_path / "one", tmp_path / "other"):
        folder.mkdir(exist_ok=True)
        with wandb(WandbOptions(project="p", mode="offline"), folder, {}):
            pass
    first, again, other = (options["id"] for options in begun)
    assert first == again != other
    assert {options["resume"] for options in begun} == {"allow"}


def test_wandb_that_is_not_installed_is_named(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="pip install 'wandb>="):
        run(fresh, "iterations=0", "logger=wandb")
