"""Whole evaluations over a provider that fails, ends, charges and is killed: nothing is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from engines.remote.usage_totals import nano_dollars
from envs.errors import BudgetError, StoreError
from judges.transcript_view import shown_name
from tests.engines.remote_provider import FAULTS, Provider, serving
from tests.training.provided import (
    goal_of,
    places,
    read_json,
    replies,
    served,
    with_content_faults,
)
from tests.training.quick import quick_retries
from training.cli.compose import compose
from training.compare import main as compare
from training.evaluate import evaluate_policy
from training.methods.records import PlayedEpisode
from training.storage.store import Store

ROOT = Path(__file__).resolve().parents[2]
CALLERS = 64


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_retries(monkeypatch)


def evaluate(folder: Path, *words: str) -> Path:
    """Run an evaluation to its end; its folder."""
    evaluate_policy(compose(places(folder, *words)))
    return (folder / "evaluations" / "latest").resolve()


def partner_of(provider: Provider) -> str:
    return "model-a@" + provider.base_url.split("/")[2]


def episodes(run: Path, partner: str) -> list[PlayedEpisode]:
    with Store.read_only(run / "store.sqlite") as store:
        return store.episodes(f"evaluate-final-{partner}", 0)


def test_with_a_third_of_all_calls_failing_no_episode_is_lost_or_counted_twice(
    tmp_path: Path,
) -> None:
    hangs = ["hangs", None, "broken", "busy"] * 4
    quick_faults = [fault for fault in FAULTS if fault != "hangs"]
    reply = with_content_faults(0.3)
    provider = Provider(reply=reply, script=hangs, faults=quick_faults, fault_rate=0.3)
    with serving(provider):
        words = [*served(provider), "partner.model.timeout_s=2", *served(provider, "judge")]
        run = evaluate(tmp_path, "partner=server", "judge=rubric", *words,
                       "evaluation.scenarios=200", f"api.concurrency={CALLERS}")  # fmt: skip
        partner = partner_of(provider)
    account, summary = provider.account, read_json(run / "summary.json")
    assert account.most_at_once <= CALLERS
    assert set(account.faults) == {"None", *FAULTS}

    # Every planned episode once, and in every table.
    played = episodes(run, partner)
    scenarios = [s.id for s in compose(["env=families"]).env.draw("test", 200)]
    assert [one.episode.scenario.id for one in played] == scenarios
    assert len({one.id for one in played}) == 200
    unscored = sum(not one.judgement.is_scored for one in played)
    assert 0 < unscored < 40, "each third verdict is faulty, three times are allowed, two needed"
    assert summary["unscored"] == unscored
    assert summary["episodes"]["final"][partner] == {"played": 200, "unscored": unscored}
    assert summary["policies"]["final"][partner]["goal"]["n"] == 200 - unscored
    assert len(read_json(run / "measures.json")["final"][partner]) == 200 - unscored
    assert f"| unscored episodes | {unscored} of 200 |" in (run / "comparison.md").read_text()

    # No faulty verdict has moved a score.
    for one in played:
        for profile, scores in zip(
            one.episode.scenario.profiles, one.judgement.scores, strict=False
        ):
            assert scores.goal == goal_of(shown_name(profile))

    # The ledger has what the provider charged, and each request once.
    api = summary["api"]
    assert nano_dollars(api["settled_usd"]) == account.delivered
    assert account.undelivered <= nano_dollars(api["uncertain_usd"])
    assert api["calls"] + api["refused_calls"] == account.requests
    assert api["open_calls"] == api["unknown_price_calls"] == api["exceeding_calls"] == 0
    assert set(api["by_purpose"]) == {"partner", "judge"}


@pytest.mark.parametrize("fault_rate", [0.0, 0.3])
def test_a_budget_stops_a_run_which_is_then_resumed_and_pays_nothing_twice(
    tmp_path: Path, fault_rate: float
) -> None:
    quick_faults = [fault for fault in FAULTS if fault != "hangs"]
    provider = Provider(reply=replies, latency_s=0.01, faults=quick_faults, fault_rate=fault_rate)
    with serving(provider):
        words = ["partner=server", *served(provider), "judge=rubric", *served(provider, "judge")]
        words += ["evaluation.scenarios=60", "env.wave=20", f"api.concurrency={CALLERS}"]
        with pytest.raises(BudgetError, match="raise budget_usd and resume the run"):
            evaluate(tmp_path, *words, "budget_usd=0.03")
        stopped = (tmp_path / "evaluations" / "latest").resolve()
        account, partner = provider.account, partner_of(provider)
        assert account.most <= 30_000_000  # nano-dollars, at any moment
        kept, asked = episodes(stopped, partner), len(provider.bodies)
        assert len(kept) in ((0, 20, 40) if fault_rate else (20, 40))
        run = evaluate(tmp_path, *words, "budget_usd=5", f"resume={stopped}")
        assert run == stopped
        played = episodes(run, partner)
    assert len({one.id for one in played}) == len(played) == 60
    assert played[: len(kept)] == kept
    api = read_json(run / "summary.json")["api"]
    assert nano_dollars(api["settled_usd"]) == account.delivered
    assert account.undelivered <= nano_dollars(api["uncertain_usd"])
    assert len(provider.bodies) > asked
    if not fault_rate:
        questions = Counter(json.dumps(body) for body in provider.bodies)
        assert set(questions.values()) == {1}, "what was paid for was asked for again"
        assert api["uncertain_calls"] == 0
        assert api["calls"] == len(questions)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with serving(Provider(reply=with_content_faults(0.5), latency_s=0.002)) as provider:
        yield provider


WORDS = ("partner=server", "evaluation.scenarios=12", "judge=hybrid", "env.wave=4")


@pytest.fixture(scope="module")
def whole(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    return evaluate(folder, *WORDS, *served(provider), *served(provider, "judge"))


def same_numbers(run: Path, other: Path) -> bool:
    """Whether all scores are the same, which the words that were said come into."""
    left, right = (read_json(place / "measures.json") for place in (run, other))
    return bool(left == right)


def test_a_run_is_replayed_from_its_answers_without_any_call(
    provider: Provider, whole: Path, tmp_path: Path
) -> None:
    before = provider.account.requests
    words = [*WORDS, *served(provider), *served(provider, "judge")]
    answers = f"api.answers_file={whole / 'answers.sqlite'}"
    again = evaluate(tmp_path, *words, answers, "api.offline=true")
    assert provider.account.requests == before
    assert same_numbers(again, whole)
    api, first = (read_json(run / "summary.json")["api"] for run in (again, whole))
    assert (api["calls"], api["settled_usd"]) == (0, 0)
    assert api["cached_answers"] == first["calls"] + first["cached_answers"] > 0
    partner = partner_of(provider)
    assert [p.episode.turns for p in episodes(again, partner)] == [
        p.episode.turns for p in episodes(whole, partner)
    ]


def test_a_replay_that_lacks_an_answer_is_unscored_and_says_why(
    provider: Provider, whole: Path, tmp_path: Path
) -> None:
    words = [*WORDS, *served(provider), *served(provider, "judge"), "partner.model.max_tokens=99"]
    answers = f"api.answers_file={whole / 'answers.sqlite'}"
    again = evaluate(tmp_path, *words, answers, "api.offline=true")
    played = episodes(again, partner_of(provider))
    assert not any(one.judgement.is_scored for one in played)
    assert "holds no answer to this request" in played[0].judgement.reasons[0]
    assert "12 of 12" in (again / "comparison.md").read_text()
    (note, *_) = read_json(again / "summary.json")["notes"]
    assert note.startswith(
        "Unscored episodes: 12, of which 12 for this reason: Not played to its end: "
    )


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_where_it_was(
    provider: Provider, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "_latency_s", 0.05)
    words = [*WORDS, *served(provider), *served(provider, "judge")]
    before = len(provider.bodies)
    command = [sys.executable, "-m", "training.evaluate", *places(tmp_path, *words)]
    quiet = os.environ | {"OMP_NUM_THREADS": "1"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=quiet, stdout=log, stderr=log)
        try:
            wait_for_a_wave(process, tmp_path / "evaluations" / "latest" / "store.sqlite")
            now = len(provider.bodies)
            while len(provider.bodies) < now + 4 and process.poll() is None:
                time.sleep(0.002)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    killed = (tmp_path / "evaluations" / "latest").resolve()
    kept = episodes(killed, partner_of(provider))
    assert 4 <= len(kept) < 12, (tmp_path / "log").read_text()
    assert not (killed / "summary.json").exists()
    monkeypatch.setattr(provider, "_latency_s", 0.002)
    run = evaluate(tmp_path, *words, f"resume={killed}")
    assert run == killed
    assert same_numbers(run, whole)
    played = episodes(run, partner_of(provider))
    assert len({one.id for one in played}) == len(played) == 12
    assert played[: len(kept)] == kept
    # Only what was under way when it was killed is asked for again.
    questions = Counter(json.dumps(body) for body in provider.bodies[before:])
    twice = sum(count - 1 for count in questions.values())
    assert twice <= read_json(run / "summary.json")["api"]["uncertain_calls"] <= CALLERS


def wait_for_a_wave(process: subprocess.Popen[bytes], store: Path) -> None:
    """Until a wave is in the store that the process writes."""
    while process.poll() is None:
        if store.exists():
            with suppress(StoreError), Store.read_only(store) as found:
                if found.waves():
                    return
        time.sleep(0.01)


def test_evaluations_are_compared_with_unscored_episodes_and_costs(
    provider: Provider, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*WORDS, *served(provider), *served(provider, "judge")]
    other = evaluate(tmp_path, *words, "policy=api", *served(provider, "policy", name="model-b"))
    capsys.readouterr()
    compare([str(whole), str(other), "--out", str(tmp_path / "both")])
    said = capsys.readouterr().out
    found = read_json(tmp_path / "both" / "comparison.json")
    partner = partner_of(provider)
    episodes_of = found["partners"][partner]["episodes"]
    table = (tmp_path / "both" / "comparison.md").read_text()
    assert list(found["cost_usd"]) == ["embedded", "model-b"]
    for name, run in (("embedded", whole), ("model-b", other)):
        summary = read_json(run / "summary.json")
        assert found["cost_usd"][name] == summary["api"]["settled_usd"] > 0
        assert episodes_of[name] == summary["episodes"]["final"][partner]
        assert 0 < episodes_of[name]["unscored"] < 12
        assert f"{episodes_of[name]['unscored']} of 12" in table
        assert re.search(rf"{name}.*; \$0\.0\d+ of calls\n", said)
    # Paired on the scenarios that both were scored on, and on no other.
    ours, theirs = (set(read_json(r / "measures.json")["final"][partner]) for r in (whole, other))
    assert found["partners"][partner]["paired"]["model-b"]["goal"]["n"] == len(ours & theirs)


def test_both_seats_and_several_episodes(provider: Provider, tmp_path: Path) -> None:
    wanted = ("evaluation.both_seats=true", "evaluation.episodes=2", "evaluation.scenarios=3")
    words = [*WORDS, *served(provider), "judge=verifiable", *wanted]
    run = evaluate(tmp_path, *words)
    partner = partner_of(provider)
    played = episodes(run, partner)
    seats = Counter((p.episode.scenario.id, p.players.index("policy")) for p in played)
    assert len(seats) == 6
    assert set(seats.values()) == {2}
    assert len({p.seed for p in played}) == len({p.id for p in played}) == 12
    summary: dict[str, Any] = read_json(run / "summary.json")
    assert summary["episodes"]["final"][partner] == {"played": 12, "unscored": 0}
    assert summary["policies"]["final"][partner]["goal"]["n"] == 3, "a scenario counts once"
