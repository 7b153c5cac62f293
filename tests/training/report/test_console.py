"""What the terminal shows, and what goes to a tracker."""

from __future__ import annotations

import io
import threading
import time
from typing import Any

import pytest
from rich.console import Console

from training.loggers import flat
from training.report import stopwatch
from training.report.console import show_iteration, show_summary
from training.report.stopwatch import Stopwatch


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=120)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def terminal() -> Console:
    return Console(file=io.StringIO(), width=120, force_terminal=True)


def test_times_of_equal_steps_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.5, 10.0, 12.0, 20.0, 20.5])
    monkeypatch.setattr("training.report.stopwatch.Progress", _Bars)
    watch = Stopwatch(terminal(), clock=lambda: next(now))
    for name in ("collect", "collect", "branch"):
        with watch.step(name, name) as progress:
            progress(1, 2)
    assert watch.wall_s == {"collect": 3.5, "branch": 0.5}


def test_a_step_that_was_stopped_took_its_time_too(console: Console) -> None:
    now, kept = iter([0.0, 1.5]), []
    watch = Stopwatch(console, clock=lambda: next(now))
    watch.keep = kept.append
    with pytest.raises(KeyboardInterrupt), watch.step("collect", "self-play"):
        raise KeyboardInterrupt
    assert kept == [{"collect": 1.5}]


class _Bars:
    """Bars without a clock of their own."""

    def __init__(self, *columns: object, console: Console, disable: bool) -> None:
        self.tasks = [type("Task", (), {"total": None})]

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def add_task(self, label: str, total: int | None) -> int:
        return 0

    def update(self, bar: int, completed: int, total: int) -> None:
        self.tasks[bar].total = total


def test_progress_is_a_bar_on_a_terminal() -> None:
    console = terminal()
    with Stopwatch(console).step("collect", "self-play") as progress:
        progress(3, 16)
    assert "self-play" in text(console)
    assert "3/16" in text(console)


def test_a_step_without_work_is_shown_as_done() -> None:
    console = terminal()
    with Stopwatch(console).step("clone", "stage 0"):
        pass
    assert "0/0" in text(console)


def test_progress_is_a_line_now_and_then_in_a_file(console: Console) -> None:
    now = 0.0
    watch = Stopwatch(console, clock=lambda: now)
    with watch.step("clone", "stage 0") as progress:
        for done, at in ((1, 10.0), (2, 40.0), (3, 50.0), (6, 120.0)):
            now = at
            progress(done, 12)
        now = 4000.0
    assert text(console).splitlines() == [
        "stage 0: 2 of 12 in 40 s, about 3 min 20 s left",
        "stage 0: 6 of 12 in 2 min 0 s, about 2 min 0 s left",
        "stage 0: done in 1 h 6 min",
    ]
    assert watch.wall_s == {"clone": 4000.0}


def test_a_step_without_news_says_that_it_goes_on(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopwatch, "SECONDS_WITHOUT_NEWS", 0.02)
    before = threading.active_count()
    with Stopwatch(console).step("branch", "iteration 1: branch"):
        while "under way" not in text(console):
            time.sleep(0.005)
    assert text(console).splitlines()[0] == "iteration 1: branch: under way for 0 s"
    assert threading.active_count() == before


def test_a_person_at_the_terminal_is_not_disturbed(console: Console) -> None:
    with Stopwatch(console, shows_bars=False).step("evaluate", "play") as progress:
        progress(3, 16)
    assert text(console) == ""


def stat(mean: float | None, low: float = 0.0, high: float = 0.0) -> dict[str, Any]:
    return {"mean": mean, "ci95": None if mean is None else [low, high], "n": 8}


def test_the_summary_as_tables(console: Console) -> None:
    summary = {
        "split": "test",
        "scenarios": 8,
        "policies": {
            "bc": {"self": {"goal": stat(6.5)}},
            "final": {"self": {"goal": stat(7.25)}},
        },
        "paired": {"self": {"goal": stat(0.75, 0.25, 1.5), "deal_rate": stat(-0.1, -0.2, 0.05)}},
        "paired_to": {"stubborn": {"self": {}}},
        "episodes": {
            "bc": {"self": {"played": 8, "unscored": 0}},
            "final": {"self": {"played": 8, "unscored": 1}},
        },
        "protocol": None,
        "subsets": {},
        "notes": ["There is no [control]."],
    }
    show_summary(console, summary)
    shown = text(console)
    assert "note: There is no [control]." in shown
    assert shown.count("partner:") == 1
    assert "(8 test scenarios)" in shown
    (row,) = [line.split() for line in shown.splitlines() if "unscored" in line]
    assert [word for word in row if word.isdecimal()] == ["0", "8", "1", "8"]
    assert "8 test scenarios" in shown
    for word in ("6.50", "7.25", "+0.75 [+0.25..+1.50]", "-0.10 [-0.20..+0.05]", "deal rate"):
        assert word in shown
    assert "\\" not in shown, "no escapes are left over"


@pytest.mark.parametrize(("width", "is_whole"), [(60, True), (24, False)])
def test_labels_are_broken_only_where_there_is_no_room(width: int, is_whole: bool) -> None:
    console = Console(file=io.StringIO(), width=width)
    found = {"self": {"goal": stat(6.5), "joint_welfare": stat(0.5)}}
    episodes = {"self": {"played": 8, "unscored": 0}}
    summary = {
        "protocol": None,
        "split": "test",
        "scenarios": 8,
        "policies": {"bc": found, "final": found},
        "paired": {},
        "paired_to": {},
        "episodes": {"bc": episodes, "final": episodes},
        "subsets": {},
        "notes": [],
    }
    show_summary(console, summary)
    assert ("joint welfare  " in text(console)) == is_whole
    assert ("words per turn" in text(console)) == is_whole


def test_what_is_reported_apart_has_tables_of_its_own(console: Console) -> None:
    def part(mean: float | None, unscored: int) -> dict[str, Any]:
        return {
            "policies": {"final": {"self": {} if mean is None else {"goal": stat(mean)}}},
            "paired": {},
            "paired_to": {},
            "episodes": {"final": {"self": {"played": 5, "unscored": unscored}}},
        }

    subsets = {
        "verifiable": {"scenarios": 2, **part(6.5, 0)},
        "judged": {"scenarios": 3, **part(None, 3)},
    }
    whole = {"protocol": "parley-sotopia/1", "split": "hard", "scenarios": 5, **part(6.5, 3)}
    show_summary(console, {**whole, "subsets": subsets, "notes": []})
    whole_table, checked, judged = text(console).split("partner: self ")[1:]
    assert "(5 combinations, parley-sotopia/1, split hard)" in whole_table
    assert "(verifiable alone: 2 combinations, parley-sotopia/1, split hard)" in checked
    assert "(judged alone: 3 combinations, parley-sotopia/1, split hard)" in judged
    assert "6.50" in whole_table
    assert "3 of 5" in whole_table
    assert "0 of 5" in checked
    assert "3 of 5" in judged
    assert "0.00" not in judged, "what is unscored is no number"


def test_what_is_apart_from_nothing_is_not_shown_twice(console: Console) -> None:
    part: dict[str, Any] = {
        "scenarios": 5,
        "policies": {"final": {"self": {}}},
        "paired": {},
        "paired_to": {},
        "episodes": {"final": {"self": {"played": 5, "unscored": 5}}},
    }
    whole = {"protocol": None, "split": "test", "notes": [], **part}
    show_summary(console, {**whole, "subsets": {"judged": part}})
    assert text(console).count("partner:") == 1


def test_nested_metrics_get_paths() -> None:
    metrics = {
        "weights_version": "0123",
        "examples": 5,
        "update": {"loss": 0.5, "nothing": None},
        "evaluation": {"self": {"goal": stat(6.5), "deal_rate": stat(None)}},
    }
    assert flat(metrics) == {"examples": 5, "update/loss": 0.5, "evaluation/self/goal": 6.5}


def test_the_seven_dimensions_and_the_words_are_explained() -> None:
    console = Console(file=io.StringIO(), width=80)
    found = {"self": {"goal": stat(6.5), "overall": stat(3.25), "relationship": stat(2.0)}}
    episodes = {"self": {"played": 8, "unscored": 0}}
    summary = {
        "protocol": None,
        "split": "test",
        "scenarios": 8,
        "policies": {"bc": found, "final": found},
        "paired": {},
        "paired_to": {},
        "episodes": {"bc": episodes, "final": episodes},
        "subsets": {},
        "notes": [],
    }
    show_summary(console, summary)
    shown = " ".join(text(console).split())
    assert (
        "overall 3.25, the mean of goal and believability - (0 to 10), relationship 2.00" in shown
    )
    assert "bc: the policy after stage 0" in shown
    assert "self: the policy in both seats" in shown
    assert "experts: " not in shown, "only words that were used"


def test_an_iteration_is_one_line() -> None:
    console = Console(file=io.StringIO(), width=40)
    record = {
        "iteration": 2, "goal": 6.5, "deal_rate": 0.97, "invalid_rate": 0.012, "examples": 56,
        "sampled_tokens": 9000, "update": {"accuracy": 0.75, "loss": 0.61},
    }  # fmt: skip
    show_iteration(console, record, 4, {"collect": 10.0, "branch": 20.0, "update": 30.0})
    assert text(console) == (
        "iteration 2 of 4: goal 6.50, deals 97%, invalid 1.2%, 56 examples, accuracy 0.75, "
        "loss 0.610, 300 tokens/s, 2 to come in about 2 min 0 s\n"
    )
    nothing = {"iteration": 4, "examples": 0, "sampled_tokens": 0, "update": {}}
    console = Console(file=io.StringIO(), width=40)
    show_iteration(console, nothing, 4, {})
    assert text(console) == "iteration 4 of 4: 0 examples\n"
