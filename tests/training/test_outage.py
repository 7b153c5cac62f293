"""A server that goes away stops a run, which loses nothing: it goes on when the server is back."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envs.errors import OutageError
from tests.engines.remote_provider import Body, Provider, serving
from tests.training.provided import is_judged, places, read_json, replies, served
from tests.training.quick import quick_retries
from tests.training.test_remote_run import episodes, evaluate, partner_of
from training.cli.run import EXIT_OUTAGE, run
from training.evaluate import COMMAND

WORDS = (
    "partner=server",
    "judge=rubric",
    "evaluation.scenarios=8",
    "env.wave=4",
    "api.attempts=2",
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_retries(monkeypatch)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving(Provider(reply=replies)) as provider:
        yield provider


def words(provider: Provider, *more: str) -> list[str]:
    return [*WORDS, *served(provider), *served(provider, "judge"), *more]


def away(body: Body) -> tuple[int, str]:
    return 503, "Loading model"


def test_an_outage_stops_the_run_which_then_goes_on_and_loses_nothing(
    provider: Provider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    provider.fault = lambda body: away(body) if len(provider.bodies) > 6 else None
    chosen = words(provider, "api.local_patience_s=0.05")
    monkeypatch.setattr(sys, "argv", ["training.evaluate", *places(tmp_path, *chosen)])
    with pytest.raises(SystemExit) as ended:
        run(COMMAND)
    said = capfd.readouterr().err
    stopped = (tmp_path / "evaluations" / "latest").resolve()
    assert ended.value.code == EXIT_OUTAGE == 4
    assert "stopped: model-a@" in said
    assert "503: " in said
    assert f"resume={stopped}" in said
    assert not (stopped / "summary.json").exists()
    kept = episodes(stopped, partner_of(provider))
    assert len(kept) in (0, 4)
    provider.fault = lambda body: None
    done = evaluate(tmp_path, *chosen, f"resume={stopped}")
    assert read_json(done / "summary.json")["unscored"] == 0
    assert len(episodes(done, partner_of(provider))) == 8


def test_episodes_that_a_failure_left_unscored_are_tried_again(
    provider: Provider, tmp_path: Path
) -> None:
    """One dialogue breaks off, one is not judged; both are in a wave with good ones."""
    broken: list[str] = []

    def fault(body: Body) -> tuple[int, str] | None:
        text = json.dumps(body["messages"])
        kind = "judge" if is_judged(body) else "partner"
        if kind not in [name.partition(" ")[0] for name in broken]:
            broken.append(f"{kind} {text}")
        return (500, "Out of memory") if f"{kind} {text}" in broken else None

    provider.fault = fault
    chosen = words(provider, "evaluation.scenarios=4")
    first = evaluate(tmp_path, *chosen)
    partner = partner_of(provider)
    before = episodes(first, partner)
    assert [one.judgement.is_scored for one in before].count(False) == 2
    assert "with resume=RUN tries these again" in " ".join(
        read_json(first / "summary.json")["notes"]
    )
    provider.fault = lambda body: None
    asked = len(provider.bodies)
    again = evaluate(tmp_path, *chosen, f"resume={first}")
    after = episodes(again, partner)
    assert all(one.judgement.is_scored for one in after)
    assert [one.id for one in after] == [one.id for one in before]
    good = [one for one in before if one.judgement.is_scored]
    assert [one for one in after if one in before] == good
    assert read_json(again / "summary.json")["unscored"] == 0
    assert 0 < len(provider.bodies) - asked < asked


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "This request has 5000 tokens, 904 too many"),
        (403, "Blocked by policy 17"),
        (500, "the request exceeds the available context size"),
    ],
)
def test_one_dialogue_that_is_refused_ends_no_run(
    provider: Provider, tmp_path: Path, status: int, message: str
) -> None:
    odd: list[str] = []

    def fault(body: Body) -> tuple[int, str] | None:
        if is_judged(body) or len(provider.bodies) < 4:
            return None
        text = json.dumps(body["messages"][:1])
        odd.append(text)
        return (status, message) if text == odd[0] else None

    provider.fault = fault
    chosen = words(provider, "evaluation.scenarios=4")
    done = evaluate(tmp_path, *chosen)
    for place in (done, evaluate(tmp_path, *chosen, f"resume={done}")):
        played = episodes(place, partner_of(provider))
        (unscored,) = [one for one in played if not one.judgement.is_scored]
        assert f"answered {status}: " in unscored.judgement.reasons[0]
        assert message in unscored.judgement.reasons[0]


@pytest.mark.parametrize(
    ("finish", "content", "said"),
    [
        ("length", None, "before it said a word; raise max_tokens"),
        ("content_filter", "", "by a content filter"),
        ("stop", "", "gave an empty reply"),
    ],
)
def test_replies_that_say_nothing_are_counted_as_unscored(
    provider: Provider, tmp_path: Path, finish: str, content: str | None, said: str
) -> None:
    def change(answer: Body) -> Body:
        message = {"role": "assistant", "content": content}
        return answer | {"choices": [{"message": message, "finish_reason": finish}]}

    provider.change = change
    chosen = [word for word in words(provider, "evaluation.scenarios=4") if "judge" not in word]
    done = evaluate(tmp_path, *chosen)
    summary = read_json(done / "summary.json")
    assert summary["unscored"] == 4
    assert said in summary["notes"][0]
    assert "unscored episodes | 4 of 4" in (done / "comparison.md").read_text()


def test_an_outage_that_begins_at_once(provider: Provider, tmp_path: Path) -> None:
    provider.fault = away
    with pytest.raises(OutageError, match=r"model-a@.* gave no answer"):
        evaluate(tmp_path, *words(provider, "api.local_patience_s=0"))
    stopped = (tmp_path / "evaluations" / "latest").resolve()
    assert episodes(stopped, partner_of(provider)) == []
