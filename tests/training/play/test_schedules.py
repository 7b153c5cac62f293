"""Whose play is learned from and what holds the policy: by hand, and over a stop and a resume."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from agents.embedded import Shape, make_model
from engines.weights import weights_version
from tests.training.quick import without_reports
from training.cli.compose import compose
from training.learning.learner import update_policy
from training.learning.references import frozen_copy, move_average
from training.learning.update import UpdateReport
from training.loop import train
from training.play.branch import Branches, BranchPlan, branch
from training.play.collector import collecting_iteration
from training.play.context import PlayContext
from training.storage.checkpoint import load_checkpoint
from training.storage.run_files import read_metrics
from training.storage.store import Store

SMALL = (
    "scale=smoke",
    "env=plans",
    "threads=1",
    "iterations=3",
    "env.max_turns=8",
    "cloning.dialogues=0",
    "collect.episodes=6",
    "branch.points=6",
    "branch.continuations=2",
    "pairing.margin=0.1",
    "evaluation.scenarios=1",
    "evaluation.curve_scenarios=0",
    "evaluation.stubborn_bias=null",
    "update.learning_rate=0.003",
    "update.min_rejected_log_ratio=null",
)


@pytest.mark.parametrize(
    ("refresh_every", "expected"),
    [(1, [0, 1, 2, 3, 4, 5]), (2, [0, 0, 2, 2, 4, 4]), (3, [0, 0, 0, 3, 3, 3]), (None, [0] * 6)],
)
def test_whose_play_by_hand(refresh_every: int | None, expected: list[int]) -> None:
    assert [collecting_iteration(n, refresh_every) for n in range(1, 7)] == expected


@pytest.mark.parametrize(
    ("refresh_every", "expected"),
    [(1, [0, 0, 1, 2, 3, 4]), (2, [0, 0, 0, 2, 2, 4]), (None, [0] * 6)],
)
def test_who_plays_during_an_update_does_not_have_it(
    refresh_every: int | None, expected: list[int]
) -> None:
    assert [collecting_iteration(n, refresh_every, ahead=True) for n in range(1, 7)] == expected


def test_the_average_by_hand() -> None:
    model = make_model(Shape(), seed=0)
    average = frozen_copy(model)
    with torch.no_grad():
        for weights in average.parameters():
            weights.fill_(1.0)
        for weights in model.parameters():
            weights.fill_(5.0)
    move_average(average, model, decay=0.75)
    for weights in average.parameters():  # 0.75 * 1 + 0.25 * 5
        assert_close(weights, torch.full_like(weights, 2.0))
    assert all(float(weights.detach().max()) == 5.0 for weights in model.parameters())


@pytest.fixture(autouse=True)
def _without_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    without_reports(monkeypatch)


def run(root: Path, *words: str) -> Path:
    return train(compose([*SMALL, f"output_root={root}", *words]))


def versions(folder: Path) -> list[str]:
    return [weights_version(folder / "checkpoints" / f"{n:04d}") for n in range(4)]


def players(folder: Path, iteration: int) -> set[str]:
    """The weights that spoke for the policy while data was collected, branches included."""
    with Store.read_only(folder / "store.sqlite") as store:
        episodes = [
            played
            for key in store.waves()
            if key.iteration == iteration and key.phase.startswith(("collect", "branch"))
            for played in store.episodes(key.phase, iteration, key.wave)
        ]
    return {
        made.weights_version
        for played in episodes
        for turn, made in zip(played.episode.turns, played.generations, strict=True)
        if made is not None and played.players[turn.seat] == "policy"
    }


SCHEDULES: dict[str, list[str]] = {
    "offline": ["schedule=offline", "reference=iteration"],
    "iterative": ["schedule=iterative", "collect.refresh_every=2", "reference=collected"],
    "overlapped": ["schedule=overlapped", "reference=collected"],
    "average": ["reference=average", "reference.decay=0.5"],
    "counted": ["branch.tokens=300", "branch.points=40", "update.steps=3"],
}


@pytest.fixture(scope="module", params=SCHEDULES)
def scheduled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    with pytest.MonkeyPatch.context() as patch:
        without_reports(patch)
        yield request.param, run(tmp_path_factory.mktemp("runs"), *SCHEDULES[request.param])


def test_the_policy_of_the_schedule_played(scheduled: tuple[str, Path]) -> None:
    name, folder = scheduled
    saved = versions(folder)
    assert len(set(saved)) == 4, "the test needs every iteration to change the weights"
    others = {"offline": [0, 0, 0], "iterative": [0, 0, 2], "overlapped": [0, 0, 1]}
    played_by = others.get(name, [0, 1, 2])
    assert [players(folder, n) for n in (1, 2, 3)] == [{saved[n]} for n in played_by]


def test_a_stopped_run_ends_in_the_same_weights(
    scheduled: tuple[str, Path], tmp_path: Path
) -> None:
    name, folder = scheduled
    stopped = run(tmp_path, *SCHEDULES[name], "iterations=2")
    assert run(tmp_path, *SCHEDULES[name], f"resume={stopped}") == stopped
    assert versions(stopped) == versions(folder)
    assert read_metrics(stopped) == read_metrics(folder)


def test_the_next_iteration_is_played_during_the_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The update ends only when that has been, so that one after the other would wait for ever."""
    is_played = Event()

    def improve_last(*args: Any) -> UpdateReport | None:
        report = update_policy(*args)
        assert args[1] == 3 or is_played.wait(timeout=60), "nobody plays meanwhile"
        is_played.clear()
        return report

    def branch_and_tell(
        context: PlayContext, plan: BranchPlan, iteration: int, *args: Any
    ) -> Branches:
        grown = branch(context, plan, iteration, *args)
        if iteration > 1:
            is_played.set()
        return grown

    monkeypatch.setattr("training.loop.update_policy", improve_last)
    monkeypatch.setattr("training.loop.branch", branch_and_tell)
    folder = run(tmp_path, *SCHEDULES["overlapped"])
    lines = [line for line in read_metrics(folder) if line["iteration"]]
    saved = versions(folder)
    assert [line["weights_version"] for line in lines] == saved[1:]
    assert [line["played_by"] for line in lines] == [saved[0], saved[0], saved[1]]


def test_the_average_is_in_the_checkpoint_and_nowhere_else(scheduled: tuple[str, Path]) -> None:
    name, folder = scheduled
    if name != "average":
        assert load_checkpoint(folder / "checkpoints" / "0003").average is None
        return
    loaded = [load_checkpoint(folder / "checkpoints" / f"{n:04d}") for n in range(4)]
    expected = frozen_copy(loaded[0].model)
    for checkpoint in loaded[1:]:
        move_average(expected, checkpoint.model, 0.5)
        assert checkpoint.average is not None
        for ours, theirs in zip(
            expected.parameters(), checkpoint.average.parameters(), strict=True
        ):
            assert torch.equal(ours, theirs)


def test_what_is_counted_is_kept_to(scheduled: tuple[str, Path]) -> None:
    name, folder = scheduled
    lines: list[dict[str, Any]] = read_metrics(folder)[1:]
    assert all(line["sampled_tokens"] > 0 for line in lines)
    if name == "counted":
        assert [line["update"]["steps"] for line in lines] == [3, 3, 3]
