"""The page of a made-up run: what it shows, and that nothing in a dialogue can break out of it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from envs.errors import ConfigError
from tests.training.full_disk import no_file_beyond
from tests.training.played import group, played
from training.evaluation.table_cells import HEADLINE
from training.report.__main__ import main
from training.report.charts import acceptance_chart, evaluation_charts, update_charts
from training.report.page import write_report
from training.report.result_tables import Cell, drop_table, partner_tables, verdict
from training.storage.run import Run
from training.storage.store import Drop

EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">\'"&amp;</bdi>'
PARTNERS = ("experts", "self", "frozen_bc")


def _stat(mean: float, half: float = 0.25, n: int = 384) -> dict[str, object]:
    return {"mean": mean, "ci95": [mean - half, mean + half], "n": n}


def _stats(shift: float) -> dict[str, object]:
    names = (*HEADLINE, "secret", "relationship")
    means = (6.1, 5.2, 0.93, 0.8, 12.25, -0.5, 1.0)
    return {name: _stat(mean + shift) for name, mean in zip(names, means, strict=True)}


SUMMARY: dict[str, Any] = {
    "policies": {
        "bc": {p: _stats(0.0) for p in PARTNERS},
        "final": {p: _stats(0.5) for p in PARTNERS},
        "stubborn": {"self": {"goal": {"mean": None, "ci95": None, "n": 0}}},
    },
    "paired_to": {"stubborn": {"self": {"goal": _stat(1.25)}}},
    "paired": {p: {"goal": _stat(0.5), "deal_rate": _stat(-0.125, half=0.25)} for p in PARTNERS},
    "unscored": 3,
    "wall_s": {"collect": 61.2, "update": 30.0},
    "acceptance": {
        "bc": {"bins": [0, 5, 10], "accept": [_stat(0.7), _stat(0.8)]},
        "final": {
            "bins": [2.5, 7.5],
            "accept": [_stat(0.25), {"mean": None, "ci95": None, "n": 0}],
        },
    },
}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    with Run.create(tmp_path, {"seed": 0, "note": EVIL}) as run:
        trunks = [played("e0", words=EVIL), played("e1"), played("e2", scored=False)]
        for iteration in (1, 2):
            with run.store.wave("collect", iteration, 0) as wave:
                wave.add_episodes(trunks if iteration == 2 else [played("old")])
                wave.add_drops("pair", {EVIL: 5, "tie": iteration})
        with run.store.wave("branch", 2, 0) as wave:
            wave.add_groups([group("g0", trunks[0])])
        for iteration in range(3):
            run.append_metrics(
                {
                    "iteration": iteration,
                    "evaluation": {p: _stats(iteration / 10) for p in PARTNERS},
                    "update": {"loss": 0.69 - iteration / 10, EVIL: 1.0} if iteration else {},
                }
            )
        run.write_summary({**SUMMARY, "policies": {**SUMMARY["policies"], EVIL: {EVIL: _stats(0)}}})
    return run.folder


class _Page(HTMLParser):
    """The text of a page, its tags, and what would run or be fetched."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.alarming: list[str] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag in ("script", "img", "iframe", "link", "object", "embed", "base", "form"):
            self.alarming.append(tag)
        for name, value in attrs:
            outside = name in ("href", "xlink:href", "src") and not (value or "").startswith("#")
            if name.startswith("on") or outside:
                self.alarming.append(f"{tag} {name}={value}")
            if name == "id" and tag not in ("path", "clippath"):
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_what_models_and_configurations_say_stays_text(run_dir: Path) -> None:
    html = write_report(run_dir).read_text(encoding="utf-8")
    page = _Page(html)
    assert page.alarming == []
    assert EVIL in page.text  # readable as it was said
    # Everywhere it can come from: dialogue, drop reason, policy, partner, chart title, config.
    assert html.count("&lt;script&gt;alert(1)") >= 6
    assert "Content-Security-Policy" in html


def test_the_page_shows_the_run(run_dir: Path) -> None:
    page = _Page(write_report(run_dir).read_text(encoding="utf-8"))
    assert page.text.startswith(f"Run {run_dir.name}: Parley report")
    assert "Finished up to iteration 2. 3 episodes unscored." in page.text
    assert "collect 61 s, update 30 s" in page.text
    assert "against self" in page.text
    assert "Unscored: the judge timed out" in page.text
    assert "ended: turn limit unscored" in page.text
    assert "(e1, 0)" in page.text  # the last iteration's episodes
    assert "(old, 0)" not in page.text
    # The group: three continuations of e0 with win probabilities 1/3, 2/3, 1; the original's is 0.
    assert "best: continuation 3 · win probability 1.00" in page.text
    assert "worst: the original · win probability 0.00" in page.text
    assert "(g0.2, 2)" in page.text
    for profile, scenario_goal in enumerate(played("e1").episode.scenario.goals):
        assert scenario_goal in page.text, profile
    assert page.tags.count("svg") == len(HEADLINE) + 2 + 1
    assert len(page.ids) == len(set(page.ids))


def test_results_that_are_gone_or_cut_are_named_on_the_page(run_dir: Path) -> None:
    (run_dir / "metrics.jsonl").write_text('{"iteration": 0}\n{"iterat')
    whole = (run_dir / "summary.json").read_text()
    (run_dir / "summary.json").write_text(whole[: len(whole) // 2])
    page = _Page(write_report(run_dir).read_text(encoding="utf-8"))
    assert "Finished up to iteration 2" in page.text, "the store has the metrics"
    assert "summary.json is not JSON" in page.text
    (run_dir / "summary.json").unlink()
    with Run.resume(run_dir, {"seed": 0, "note": EVIL}) as run:
        run.append_metrics({"iteration": 3, "examples": 1, "alarms": {"ties": "All are ties."}})
    page = _Page(write_report(run_dir).read_text(encoding="utf-8"))
    assert "summary.json is missing, though the run wrote it" in page.text
    assert "ALARM: All are ties." in page.text, "also before there is a summary"


def test_charts_follow_the_colours_of_the_page(run_dir: Path) -> None:
    html = write_report(run_dir).read_text(encoding="utf-8")
    body = html[html.index("<body>") :]
    assert "var(--series-1)" in body
    assert not re.search(r"(fill|stroke): #", body)
    assert "font-family" not in body


def test_a_run_without_results_has_a_page(tmp_path: Path) -> None:
    with Run.create(tmp_path, {"seed": 0}) as run:
        page = _Page(write_report(run.folder).read_text(encoding="utf-8"))  # while it is written
    assert "No iteration is finished yet." in page.text
    assert "There is no summary yet" in page.text
    assert "svg" not in page.tags


def test_results_by_hand() -> None:
    first, second, third = partner_tables(SUMMARY, ["goal", "joint_welfare", "deal_rate"])
    assert [t.partner for t in (first, second, third)] == ["self", "frozen_bc", "experts"]
    assert [row.name for row in second.rows] == ["bc", "final", "final − bc"]  # noqa: RUF001
    bc, final, stubborn, difference, other = first.rows
    assert bc.cells[:2] == (Cell("6.10", "5.85 to 6.35"), Cell("0.93", "0.68 to 1.18"))
    assert final.cells[0].mean == "6.60"
    assert stubborn.cells == (Cell("–"),) * 3  # noqa: RUF001
    assert difference.cells[0] == Cell("+0.50", "+0.25 to +0.75", clear=True)
    assert difference.cells[2] == Cell("−0.12", "−0.38 to +0.12")  # noqa: RUF001
    assert (other.name, other.cells[0].mean) == ("final − stubborn", "+1.25")  # noqa: RUF001
    assert (bc.n, stubborn.n, difference.n) == ("384", "0", "384")


def test_what_no_judge_scored_is_counted_in_every_table(run_dir: Path) -> None:
    part = {
        "scenarios": 5,
        "policies": {"final": {"self": {}}},
        "episodes": {"final": {"self": {"played": 450, "unscored": 300}}},
    }
    (table,) = partner_tables(part, HEADLINE)
    assert [(row.name, row.unscored) for row in table.rows] == [("final", "300 of 450")]
    assert {cell.mean for cell in table.rows[0].cells} == {"–"}, "never a number"  # noqa: RUF001
    told = {
        "protocol": EVIL,
        "scenarios": 9,
        "split": "hard",
        "notes": [EVIL],
        "subsets": {EVIL: part},
    }
    (run_dir / "summary.json").write_text(json.dumps({**SUMMARY, **told}))
    page = _Page(write_report(run_dir).read_text(encoding="utf-8"))
    assert page.alarming == []
    assert f"(hard, {' '.join(EVIL.split())})" in page.text
    assert page.text.count("300 of 450") == 1
    assert "alone: 5 scenarios" in page.text


def test_a_difference_that_rounds_to_nothing_has_no_sign() -> None:
    paired = {"policies": {"bc": {"self": {}}}, "paired": {"self": {"goal": _stat(-0.004, half=1)}}}
    (table,) = partner_tables(paired, ["goal"])
    assert table.rows[1].cells == (Cell("0.00", "−1.00 to +1.00"),)  # noqa: RUF001


def test_acceptance_by_hand() -> None:
    chart = acceptance_chart(SUMMARY)
    assert chart is not None
    bc, final = chart.curves
    assert [(p.x, p.y) for p in bc.points] == [(2.5, 0.7), (7.5, 0.8)]  # centres of the edges
    assert [(p.x, p.y) for p in final.points] == [(2.5, 0.25)]  # nothing was offered in the other
    assert acceptance_chart({}) is None


def test_curves_skip_what_was_not_measured() -> None:
    metrics = [
        {"iteration": 0, "evaluation": {"self": {"goal": _stat(5.0)}}},
        {"iteration": 1, "update": {"loss": 0.5}},
        {"iteration": 2, "evaluation": {"self": {"goal": _stat(6.0)}}, "update": {"loss": None}},
    ]
    (goal,) = evaluation_charts(metrics)
    assert [(p.x, p.y, p.ci95) for p in goal.curves[0].points] == [
        (0, 5.0, (4.75, 5.25)),
        (2, 6.0, (5.75, 6.25)),
    ]
    (loss,) = update_charts(metrics, {"loss": ["loss"], "log ratios": ["margin"]})
    assert [(p.x, p.y) for p in loss.curves[0].points] == [(1, 0.5)]


def test_numbers_of_an_update_can_share_a_chart() -> None:
    metrics = [{"iteration": 1, "update": {"a": 1.0, "b": 2.0}}]
    (chart,) = update_charts(metrics, {"both": ["a", "b"]})
    assert [(c.name, c.colour, c.points[0].y) for c in chart.curves] == [("a", 1, 1), ("b", 2, 2)]


def test_drops_are_counted_by_iteration() -> None:
    table = drop_table(
        [Drop(1, "pair", "tie", 4), Drop(2, "judge", "x", 1), Drop(3, "pair", "tie", 2)]
    )
    assert table.iterations == (1, 2, 3)
    assert [(row.stage, row.counts, row.total) for row in table.rows] == [
        ("pair", (4, 0, 2), 6),
        ("judge", (0, 1, 0), 1),
    ]


def test_a_full_disk_is_a_sentence(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with no_file_beyond(40_000), pytest.raises(SystemExit, match="2"):
        main([str(run_dir)])
    said = capsys.readouterr().err
    assert "report.html cannot be written (File too large)" in said
    assert not list(run_dir.glob(".*"))


def test_the_command(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(run_dir)])
    assert Path(capsys.readouterr().out.strip()) == run_dir / "report.html"
    with pytest.raises(ConfigError, match="is not a run"):
        write_report(run_dir.parent)
    with pytest.raises(SystemExit, match="2"):
        main([str(run_dir.parent)])
    assert "is not a run" in capsys.readouterr().err


def test_the_page_begins_with_what_was_trained_and_what_came_of_it(tmp_path: Path) -> None:
    options = {"seed": 3, "name": "sdpo", "policy": {"name": "models/Small-135M.gguf"}}
    with Run.create(tmp_path, options) as run:
        run.write_summary(SUMMARY)
        (run.folder / "checkpoints" / "0001").mkdir(parents=True)
    page = write_report(run.folder).read_text()
    assert "<title>sdpo seed 3 (Small-135M.gguf): Parley report</title>" in page
    assert "<h1>sdpo seed 3 (Small-135M.gguf)</h1>" in page
    said = "Goal (0 to 10) over the clone: +0.50 [+0.25, +0.75] against experts; "
    assert said in page


def test_without_a_clone_the_verdict_is_the_goal_itself() -> None:
    alone = {"policies": {"final": {"self": {"goal": _stat(6.0)}}}, "paired": {}}
    assert verdict(alone) == "Goal (0 to 10): 6.00 [5.75, 6.25] against self."
    assert verdict({}) == ""
