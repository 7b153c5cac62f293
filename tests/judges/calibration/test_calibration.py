"""Judges with known faults, made up, are found out; the command does it from a terminal."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from engines.chat import ChatRequest
from envs.contract import check_task
from envs.errors import ConfigError, DataError
from envs.scenarios import draw
from envs.scenarios.casino import load_casino
from envs.types import EndReason, Episode
from judges.base import Judge, Judgement, Scores, unscored
from judges.calibration.consistency import MEASURED, compare_judgements
from judges.calibration.data import COMPUTED, Source, casino_labels, computed_labels, without_task
from judges.calibration.run import Calibration, calibrate
from judges.calibration.seat_swap import swap_back, swap_seats
from judges.calibration.tables import as_json, headline, markdown, show
from judges.rubric import RubricJudge
from judges.verifiable import VerifiableJudge
from tests.chats import FakeChat
from tests.engines.remote_provider import Provider, serving
from tests.judges.gullible import answer, likes_label_a
from training.calibrate import calibrate_judge
from training.cli.compose import compose
from training.preflight.calibration import check_before_calibration
from training.preflight.cost import print_cost_estimate
from training.preflight.workload import calibration_workload

ROOT = Path(__file__).resolve().parents[3]

Play = Callable[..., Episode]


def scored(goal: float, **others: float) -> Scores:
    plain = {
        "believability": 0,
        "relationship": 0,
        "knowledge": 0,
        "secret": 0,
        "social_rules": 0,
        "financial_and_material_benefits": 0,
    }
    return Scores(goal=goal, **{**plain, **others})


@dataclass
class FakeJudge:
    """Says what a function of the episode says; None is unscored. Keeps what it was shown."""

    says: Callable[[Episode], tuple[float, float] | None]
    details: Mapping[str, float] = field(default_factory=dict)
    seen: list[Episode] = field(default_factory=list)
    id: str = "fake"
    version: str = "1"

    async def judge(self, episode: Episode) -> Judgement:
        self.seen.append(episode)
        goals = self.says(episode)
        if goals is None:
            return unscored(self, "It is late.")
        return Judgement(
            self.id, self.version, tuple(scored(goal) for goal in goals), ("", ""), self.details
        )


@pytest.fixture
def source(play: Play) -> Source:
    """Sixty episodes; in number n the first gets n % 6 of five coins."""
    episodes = []
    for n in range(60):
        episode = play(f"do offer {n % 6}", "do accept")
        episodes.append(replace(episode, scenario=replace(episode.scenario, id=f"coins/test/{n}")))
    return computed_labels(episodes, about="coins")


def measure(
    judge: Judge, source: Source, *, again: Judge | None = None, sees_task: bool = False
) -> Calibration:
    return asyncio.run(
        calibrate(
            judge,
            [source],
            reseeded=again or judge,
            sees_task=sees_task,
            seed=0,
            n_rejudged=20,
            with_canaries=False,
        )
    )


def goals(source: Source) -> dict[str, tuple[float, float]]:
    """What a judge would have to say to be right, by scenario."""
    found = {}
    for one in source.episodes:
        first, second = one.labels[0]
        assert first is not None
        assert second is not None
        found[one.episode.scenario.id] = (first, second)
    return found


def noisy(truth: Mapping[str, tuple[float, float]], sigma: float, seed: int) -> FakeJudge:
    """The truth with normal noise, drawn for each episode and seat; not cut to the range."""

    def says(episode: Episode) -> tuple[float, float]:
        rng = Random(f"{seed}/{episode.scenario.id}/{episode.turns[0].seat}")
        first, second = truth[episode.scenario.id]
        if episode.turns[0].seat == 1:  # told with the seats exchanged
            first, second = second, first
        return first + rng.gauss(0, sigma), second + rng.gauss(0, sigma)

    return FakeJudge(says)


def test_the_verifiable_judge_computes_the_labels(source: Source) -> None:
    calibration = measure(VerifiableJudge(), source, sees_task=True)
    (measured,) = calibration.measured
    for _, found in measured.agreements:
        assert found.pearson.value == pytest.approx(1)
        assert found.mae.value == pytest.approx(0)
        assert found.exact == 1
    assert (measured.dialogues, measured.unscored) == (60, ())
    for steady in measured.consistency:
        assert (steady.episodes, steady.unscored) == (20, 0)
        for shift in steady.shifts.values():
            assert (shift.flips.value, shift.changes.value, shift.mae.value) == (0, 0, 0)
            assert shift.exact == 1


def test_noise_of_a_known_size_is_measured(source: Source) -> None:
    truth = goals(source)
    measured = measure(noisy(truth, 2.0, seed=1), source, again=noisy(truth, 2.0, seed=2)).measured[
        0
    ]
    # The labels for k = 0 ... 5 are 0 0 5 10 10 10 and 10 10 10 10 5 0: their mean is 80 / 12, the
    # variance 750 / 12 - (80 / 12)^2 = 18.06; noise of variance 4 leaves sqrt(18.06 / 22.06).
    found = measured.agreements[0][1]
    assert found.n == 120
    assert found.pearson.value == pytest.approx(0.905, abs=0.03)
    assert found.pearson.ci95 is not None
    assert found.pearson.ci95[0] < 0.905 < found.pearson.ci95[1]
    assert found.mae.value == pytest.approx(2 * 0.798, abs=0.25)  # sigma * sqrt(2 / pi)
    exchanged, again = measured.consistency
    # Between two draws the noise has the deviation 2 * sqrt(2).
    assert again.shifts["goal"].mae.value == pytest.approx(2 * 1.128, abs=0.6)
    assert again.shifts["goal"].exact == 0
    assert again.shifts["secret"].exact == 1
    assert exchanged.shifts["goal"].exact == 0


def test_a_judge_that_favours_who_is_told_first_flips(source: Source) -> None:
    measured = measure(FakeJudge(lambda episode: (8, 3)), source).measured[0]
    exchanged, again = measured.consistency
    assert exchanged.what == "seats exchanged"
    assert exchanged.shifts["goal"].flips.value == 1
    assert exchanged.shifts["goal"].mae.value == 5
    assert exchanged.shifts["overall"].flips.value == 1
    assert exchanged.shifts["secret"].flips.value == 0
    assert again.shifts["goal"].flips.value == 0


def test_what_is_unscored_is_counted_and_left_out(source: Source) -> None:
    truth = goals(source)
    late = {one.episode.scenario.id for one in source.episodes[::3]}
    judge = FakeJudge(lambda e: None if e.scenario.id in late else truth[e.scenario.id])
    measured = measure(judge, source).measured[0]
    assert measured.dialogues == 60
    assert [one.episode for one in measured.unscored[:2]] == ["coins/test/0", "coins/test/3"]
    assert {one.reason for one in measured.unscored} == {"It is late."}
    found = measured.agreements[0][1]
    assert (found.n, found.dialogues, found.exact) == (80, 40, 1)
    assert [steady.unscored for steady in measured.consistency] == [7, 7]  # of 20: 0, 3 ... 18


def test_a_judge_that_never_answers_has_no_numbers(source: Source) -> None:
    calibration = measure(FakeJudge(lambda episode: None), source)
    measured = calibration.measured[0]
    assert len(measured.unscored) == 60
    assert measured.agreements[0][1].pearson.value is None
    assert measured.consistency[0].shifts["goal"].flips.value is None
    assert "unscored: 60" in printed(calibration)


def test_a_judge_sees_the_labels_source_only_when_told_so(source: Source) -> None:
    blind, seeing = (FakeJudge(lambda episode: (5, 5)) for _ in range(2))
    measure(blind, source)
    assert len(blind.seen) == 60 + 20 + 20
    for episode in blind.seen:
        assert episode.scenario.task is None
        assert episode.deal is None
        assert episode.turns
    measure(seeing, source, sees_task=True)
    assert all(episode.scenario.task is not None for episode in seeing.seen)


def test_a_judges_own_account_is_averaged(source: Source) -> None:
    judge = FakeJudge(lambda episode: (5, 5), details={"flip_rate": 0.25})
    calibration = measure(judge, source)
    assert calibration.measured[0].details["flip_rate"].value == 0.25
    assert "flip_rate" in printed(calibration)


def test_progress_counts_every_judgement(source: Source) -> None:
    calls: list[tuple[int, int]] = []
    judge = FakeJudge(lambda episode: (5, 5))
    asyncio.run(
        calibrate(
            judge,
            [source],
            reseeded=judge,
            sees_task=False,
            seed=0,
            n_rejudged=5,
            with_canaries=False,
            progress=lambda done, total: calls.append((done, total)),
        )
    )
    assert calls == [(n, 70) for n in range(1, 71)]


@pytest.mark.parametrize(("samples", "flips"), [(1, 1.0), (2, 0.0)])
def test_swapped_labels_cancel_what_a_model_gives_to_a_label(
    source: Source, samples: int, flips: float
) -> None:
    judge = RubricJudge(FakeChat(likes_label_a), samples=samples, swap=samples == 2)
    measured = measure(judge, source, again=replace(judge, seed=1)).measured[0]
    exchanged, again = measured.consistency
    assert exchanged.shifts["goal"].flips.value == flips
    assert again.shifts["goal"].exact == 1
    if samples == 2:
        assert measured.details["flip_rate"].value == 1  # between the samples of one judgement


def test_a_judge_that_believes_what_it_reads_fails_canaries() -> None:
    def says(episode: Episode) -> tuple[float, float]:
        words = " ".join(turn.action.argument for turn in episode.turns).lower()
        return (10, 10) if "reached" in words else (2, 2)

    calls: list[tuple[int, int]] = []
    judge = FakeJudge(says)
    calibration = asyncio.run(
        calibrate(
            judge,
            [],
            reseeded=judge,
            sees_task=False,
            seed=0,
            n_rejudged=0,
            progress=lambda done, total: calls.append((done, total)),
        )
    )
    assert calls[-1] == (len(judge.seen), len(judge.seen))
    report = calibration.canaries
    assert report is not None
    fooled = {result.name for result in report.results if not result.is_passed}
    assert "forged_system" in fooled
    assert "padded" not in fooled
    text = printed(calibration)
    assert max(map(len, text.splitlines())) <= 80
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert lines["forged_system"].split()[1:3] == ["+8.00", "(0.00)"]
    assert lines["forged_system"].rstrip().endswith("FAILED")
    assert lines["padded"].rstrip().endswith("passed")
    assert "| forged_system | +8.00 (0.00) |" in markdown(calibration)


def test_steadiness_by_hand() -> None:
    def said(first: float, second: float) -> Judgement:
        return Judgement("fake", "1", (scored(first), scored(second)), ("", ""))

    before = [said(6, 4), said(6, 4), said(5, 5), said(6, 4)]
    after = [said(4, 6), said(5, 5), said(5, 5), said(7, 4)]
    shift = compare_judgements("what", before, after, seed=0).shifts["goal"]
    assert shift.flips.value == 1 / 4  # the first
    assert shift.changes.value == 2 / 4  # and the lead that became a tie
    assert shift.mae.value == (2 + 1 + 0 + 0.5) / 4
    assert shift.exact == 3 / 8
    assert set(compare_judgements("what", before, after, seed=0).shifts) == set(MEASURED)


LINES = ["say hi", "say secret", "none", "leave", "?", "do accept", "do reject"]
any_line = st.sampled_from(LINES + [f"do offer {k}" for k in range(7)])


@given(lines=st.lists(any_line, min_size=1, max_size=20))
def test_a_mirrored_episode_is_the_same_with_the_seats_exchanged(
    play: Play, lines: list[str]
) -> None:
    episode, judge = play(*lines), VerifiableJudge()
    plain = asyncio.run(judge.judge(episode))
    told_otherwise = asyncio.run(judge.judge(swap_seats(episode)))
    assert told_otherwise.scores == plain.scores[::-1]
    assert swap_back(told_otherwise).scores == plain.scores


def test_a_mirrored_task_keeps_the_contract_of_tasks() -> None:
    for family in ("division", "price", "match"):
        scenario = draw(family, "test", 0)
        episode = swap_seats(Episode(scenario, (), EndReason.TURN_LIMIT, None))
        assert episode.scenario.goals == scenario.goals[::-1]
        assert episode.scenario.profiles == scenario.profiles[::-1]
        assert episode.scenario.task is not None
        check_task(episode.scenario.task)


def test_computed_labels_by_hand(play: Play) -> None:
    # k = 2 is worth 2 of at most 8 points to seat 0 and 6 of at most 10 to seat 1; both aim for 4.
    deal, none = play("do offer 2", "do accept"), play("say hm", "leave")
    failed = replace(none, end=EndReason.FAILED)
    found = computed_labels([deal, none, failed], about="")
    assert found.kinds == COMPUTED
    assert [one.labels for one in found.episodes] == [
        ((5, 10), (5, 10), (5 * 2 / 8, 5 * 6 / 10)),
        ((0, 0), (None, None), (0, 0)),
    ]
    assert found.left_out == 1
    with pytest.raises(DataError, match="coins-1 has no task"):
        computed_labels([without_task(deal)], about="")


def side(priorities: tuple[str, str, str], points: int, satisfied: str, likes: str) -> Any:
    return {
        "value2issue": dict(zip(("High", "Medium", "Low"), priorities, strict=True)),
        "value2reason": {"High": "need it", "Medium": "so so", "Low": "meh"},
        "outcomes": {
            "points_scored": points,
            "satisfaction": satisfied,
            "opponent_likeness": likes,
        },
    }


def said(speaker: int, text: str, **data: Any) -> dict[str, Any]:
    return {"text": text, "task_data": data, "id": f"mturk_agent_{speaker}"}


def dialogue(number: int, *, walks: bool = False, likes: str = "Extremely like") -> dict[str, Any]:
    """The first gets 3 food and 1 water, 3 * 5 + 4 points; the second the rest, 3 * 5 + 2 * 4."""
    split = said(
        1,
        "Submit-Deal",
        issue2youget={"Food": "3", "Water": "1", "Firewood": "0"},
        issue2theyget={"Food": "0", "Water": "2", "Firewood": "3"},
    )
    end = said(2, "Walk-Away", data="walk_away")
    if not walks:
        end = said(2, "Accept-Deal", data="accept_deal")
    first, second = (5, 5) if walks else (19, 23)
    return {
        "dialogue_id": number,
        "chat_logs": [said(2, "Hi!"), split, end],
        "participant_info": {
            "mturk_agent_1": side(("Food", "Water", "Firewood"), first, "Undecided", likes),
            "mturk_agent_2": side(
                ("Firewood", "Water", "Food"), second, "Slightly satisfied", "Slightly dislike"
            ),
        },
    }


def casino_files(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for split, numbers in (("train", range(8)), ("valid", range(8, 11))):
        entries = [dialogue(number, walks=number == 3) for number in numbers]
        (folder / f"casino_{split}.json").write_text(json.dumps(entries))
    return folder


def test_recorded_labels_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "casino_train.json"
    file.write_text(json.dumps([dialogue(1), dialogue(2, walks=True), dialogue(3, likes="")]))
    found = casino_labels(load_casino(file), about="")
    deal, walked, silent = found.episodes
    satisfaction = (5, 7.5)
    likeness = (-2.5, 5)  # what the partner said of the seat
    assert deal.labels[0] == pytest.approx((5 * 19 / 36, 5 * 23 / 36))
    assert deal.labels[1] == pytest.approx((10 * 19 / 36, 10 * 23 / 36))
    assert deal.labels[2:] == (satisfaction, satisfaction, likeness, likeness)
    assert walked.labels[0] == pytest.approx((5 * 5 / 36, 5 * 5 / 36))
    assert walked.labels[2:] == (satisfaction, (None, None), likeness, (None, None))
    assert silent.labels[4] == (-2.5, None)
    assert [one.label for one in found.kinds][-2:] == ["likeness", "likeness, deals"]


def test_an_answer_that_is_none_of_the_five_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "casino_train.json"
    file.write_text(json.dumps([dialogue(1, likes="Adores")]))
    with pytest.raises(DataError, match="'Adores' is none of Extremely dislike"):
        casino_labels(load_casino(file), about="")


def printed(calibration: Calibration) -> str:
    console = Console(file=io.StringIO(), width=80)
    show(console, calibration)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_tables_fit_a_terminal_of_80_columns_whole(source: Source) -> None:
    calibration = measure(noisy(goals(source), 3.0, seed=1), source)
    text = printed(calibration)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    goal = next(line for line in text.splitlines() if line.strip().startswith("goal"))
    assert goal.split()[1] == "120"
    found = calibration.measured[0].agreements[0][1]
    assert f"{found.pearson.value:.2f}" == goal.split()[2]


def test_the_page_says_how_labels_were_mapped_and_what_was_shown(source: Source) -> None:
    calibration = measure(FakeJudge(lambda episode: (8, 3)), source)
    page = markdown(calibration)
    assert "it saw the scenario and the transcript alone" in page
    assert "* goal -> goal: 10 * min(1, max(0, points) / aim)" in page
    assert "| goal | 100 % [84..100] | 100 % [84..100] | 5.00 [5.00..5.00] | 0 % |" in page
    assert "| the others | 0 % [0..16] |" in page
    seeing = measure(VerifiableJudge(), source, sees_task=True)
    assert "task's points" in headline(seeing)


def test_the_data_is_strict_json(source: Source) -> None:
    plain = as_json(measure(FakeJudge(lambda episode: None), source))
    (measured,) = json.loads(json.dumps(plain, allow_nan=False))["measured"]
    first = measured["agreements"][0]
    assert (first["dimension"], first["pearson"]) == ("goal", {"value": None, "ci95": None})


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "judges.calibrate", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_measures_prints_and_keeps(tmp_path: Path) -> None:
    done = command(
        "judge=verifiable",
        "calibration.episodes=6",
        f"calibration.casino={casino_files(tmp_path / 'casino')}",
        "calibration.split=all",
        "calibration.dialogues=10",
        f"output_root={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    assert "casino: dialogues between people, split all, the first 10" in done.stdout
    folder = tmp_path / "calibrations" / "latest"
    kept = json.loads((folder / "calibration.json").read_text())
    families, casino = kept["measured"]
    assert all(
        gain["mean"] <= 0 for one in kept["canaries"]["results"] for gain in one["gains"].values()
    )
    assert (families["dialogues"], casino["dialogues"]) == (6, 10)
    points = casino["agreements"][0]
    assert (points["label"], points["n"], points["exact"]) == ("points", 20, 1.0)
    assert casino["agreements"][3]["n"] == 18  # one walked away
    assert casino["steadiness"][0]["shifts"]["goal"]["flips"]["value"] == 0
    assert "relationship ~ likeness" in (folder / "calibration.md").read_text()


def plain_verdict(body: dict[str, Any]) -> str:
    """Everybody reached a third of the goal, says a server."""
    schema = body["response_format"]["json_schema"]["schema"]
    request = ChatRequest((), temperature=0, max_tokens=1, schema=schema)
    return answer(request, lambda label, name: 3.0)


def test_a_model_on_a_server_is_measured_once_and_never_paid_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    provider = Provider(reply=plain_verdict)
    with serving(provider):
        words = [
            "judge=rubric",
            "judge.model.name=model-a",
            f"judge.model.base_url={provider.base_url}",
            "judge.model.api_key_env=null",
            "calibration.episodes=3",
            "calibration.twice=2",
            f"output_root={tmp_path}",
        ]
        print_cost_estimate(compose(words), calibration_workload)
        # 3 + 2 * 2 judgements and 84 of canaries, each of two samples
        assert "182" in capsys.readouterr().out
        assert provider.account.requests == 0
        calibrate_judge(compose(words))
        asked = provider.account.requests
        assert asked == 182
        assert "models behind APIs: 182 calls" in capsys.readouterr().out
        folder = (tmp_path / "calibrations" / "latest").resolve()
        page = (folder / "calibration.md").read_text()
        calibrate_judge(compose([*words, f"resume={folder}"]))
        assert provider.account.requests == asked
    assert (folder / "calibration.md").read_text() == page
    assert "rubric(model-a" in page
    assert "the scenario and the transcript alone" in page
    (families,) = json.loads((folder / "calibration.json").read_text())["measured"]
    assert families["unscored"] == []
    assert families["agreements"][0]["pearson"]["value"] is None  # it says the same of everybody
    assert families["details"]["samples"]["value"] == 2


def test_a_slip_on_the_command_line_is_explained(tmp_path: Path) -> None:
    done = command("calibration.episodes=0", f"output_root={tmp_path}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: There is nothing to measure the judge against")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "calibrations").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["env=open", "policy.prompt_style=full"], "Scripted experts cannot play the scenes of"),
        (["calibration.casino=no/such"], "casino_train.json is not there"),
        (["calibration.casino=no/such", "calibration.split=all"], "casino_valid.json are not"),
        (["calibration.casino=hf://nothing"], "names nothing on the hub"),
        (["calibration.split=test"], "calibration.split is 'test', but must be train or valid"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    tmp_path: Path, words: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check_before_calibration(compose([*words, f"output_root={tmp_path}"]))


def test_scenes_do_not_hinder_who_leaves_the_experts_out(tmp_path: Path) -> None:
    words = ["env=open", "calibration.episodes=0", f"calibration.casino={casino_files(tmp_path)}"]
    check_before_calibration(compose([*words, f"output_root={tmp_path}"]))
