"""The rubric judge: samples averaged, labels swapped, failures unscored, everything signed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from types import ModuleType
from typing import Any

import pytest

from engines.chat import ChatRequest, Reply
from envs.errors import BudgetError, ConfigError, RemoteError
from envs.types import EndReason, Episode, Profile
from judges import prompt_guard, rubric, transcript_view, versions
from judges.base import DIMENSION_RANGES, Judge, Judgement, Scores
from judges.hybrid import HybridJudge
from judges.panel import PanelJudge
from judges.rubric import RubricJudge, rubric_request
from judges.transcript_view import labels
from tests.chats import Answer, FakeChat
from tests.judges.gullible import PLAIN_GOAL, answer, likes_label_a, record_of

Play = Callable[..., Episode]


def judged(judge: Judge, episode: Episode) -> Judgement:
    return asyncio.run(judge.judge(episode))


@pytest.fixture
def episode(play: Play) -> Episode:
    return play("say hello", "say good day", "do offer 3", "do accept")


def name_of(request: ChatRequest, label: str) -> str:
    agents: Any = record_of(request)["agents"]
    return str(agents[label]["name"])


def by_name(**goals: float) -> FakeChat:
    """A model that knows what to think of whom, whatever they are called."""
    return FakeChat(lambda request: answer(request, lambda _, character: goals[character]))


def test_scores_come_back_in_seat_order_whatever_the_labels(episode: Episode) -> None:
    for swap in (True, False):
        judgement = judged(RubricJudge(by_name(Ann=2, Ben=7), swap=swap), episode)
        assert [scores.goal for scores in judgement.scores] == [2, 7]
        assert judgement.scores[0] == Scores(8, 1, 2, 0, 0, 0, 2)
        assert judgement.reasons == ("seat 0 spoke in turn 0. (turns 0)",
                                     "seat 1 spoke in turn 0. (turns 0)")  # fmt: skip


def test_every_second_sample_has_the_labels_swapped(episode: Episode) -> None:
    chat = by_name(Ann=2, Ben=7)
    judged(RubricJudge(chat, samples=4), episode)
    orders = [name_of(request, "agent_A") for request in chat.requests]
    assert sorted(orders) == ["Ann", "Ann", "Ben", "Ben"]
    assert orders[0] != orders[1]
    assert orders[:2] == orders[2:]
    assert len({r.seed for r in chat.requests}) == 4
    assert {r.purpose for r in chat.requests} == {"judge"}


def test_a_preference_for_a_label_cancels_in_the_mean_and_shows_in_the_details(
    episode: Episode,
) -> None:
    chat = FakeChat(likes_label_a)
    fooled = judged(RubricJudge(chat, swap=False), episode)
    assert [scores.goal for scores in fooled.scores] == [PLAIN_GOAL + 4, PLAIN_GOAL]
    assert fooled.details["flip_rate"] == 0  # and nothing shows it

    fair = judged(RubricJudge(chat), episode)
    assert [scores.goal for scores in fair.scores] == [PLAIN_GOAL + 2, PLAIN_GOAL + 2]
    assert fair.details["flip_rate"] == 1
    # Goals 7 and 3 for either seat: both deviate by 2, variance (4 + 4) / 1.
    assert fair.details["spread.goal"] == pytest.approx(sqrt(8))
    assert fair.details["spread.overall"] == pytest.approx(sqrt(8) / 7)
    assert fair.details["spread.secret"] == 0


def test_over_many_scenarios_a_single_sample_favours_no_seat(episode: Episode) -> None:
    judge = RubricJudge(FakeChat(likes_label_a), samples=1)
    ahead = []
    for number in range(40):
        scenario = replace(episode.scenario, id=f"coins-{number}")
        first, second = judged(judge, replace(episode, scenario=scenario)).scores
        ahead.append(first.goal > second.goal)
    assert 10 <= sum(ahead) <= 30


def test_the_mean_is_taken_by_dimension_and_the_typical_reason_is_kept(episode: Episode) -> None:
    goals, verbs = iter([0.0, 9.0, 4.0]), iter(["failed", "won", "got on"])

    def one_after_the_other(request: ChatRequest) -> str:
        goal = next(goals)
        return answer(request, lambda *_: goal).replace("spoke", next(verbs))

    judge = RubricJudge(FakeChat(one_after_the_other), samples=3, swap=False)
    judgement = judged(judge, episode)
    assert judgement.scores[0].goal == pytest.approx(13 / 3)
    assert judgement.reasons[0] == "seat 0 got on in turn 0. (turns 0)"  # 4 is nearest to 4.33
    assert judgement.details["samples"] == 3


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([RemoteError("The server is down."), "x"], "The server is down."),
        (["no", "no", "no", "no"], "fake-1 gave no valid reply in 2"),
    ],
)
def test_a_judgement_that_fails_is_unscored_with_the_reason(
    episode: Episode, answers: list[Answer], reason: str
) -> None:
    judge = RubricJudge(FakeChat(answers), max_asks=2)
    judgement = judged(judge, episode)
    assert not judgement.is_scored
    assert reason in judgement.reasons[0]
    assert (judgement.judge_id, judgement.judge_version) == (judge.id, judge.version)


def test_one_sample_that_cannot_be_had_leaves_the_episode_unscored(episode: Episode) -> None:
    # Otherwise whoever makes one order of the labels unreadable chooses the other one.
    def only_when_ann_comes_first(request: ChatRequest) -> str:
        return answer(request, lambda *_: 9.0) if name_of(request, "agent_A") == "Ann" else "no"

    assert not judged(RubricJudge(FakeChat(only_when_ann_comes_first)), episode).is_scored
    judge = RubricJudge(FakeChat(only_when_ann_comes_first), swap=False)
    assert judged(judge, episode).is_scored


@pytest.mark.parametrize("error", [BudgetError("spent"), ConfigError("The key is refused.")])
def test_what_ends_a_run_passes_through(episode: Episode, error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        judged(RubricJudge(FakeChat([error, error])), episode)


def test_a_failed_episode_is_unscored_before_any_call(episode: Episode) -> None:
    chat = FakeChat([])
    judgement = judged(RubricJudge(chat), replace(episode, end=EndReason.FAILED))
    assert not judgement.is_scored
    assert "Not played to its end" in judgement.reasons[0]
    assert chat.requests == []


def test_refused_replies_are_counted(episode: Episode) -> None:
    asked: list[str] = []

    def second_time(request: ChatRequest) -> Answer:
        asked.append(request.messages[-1].content)
        return answer(request, lambda *_: 5.0) if "refused" in asked[-1] else "Well."

    judgement = judged(RubricJudge(FakeChat(second_time)), episode)
    assert judgement.is_scored
    assert judgement.details["asks"] == len(asked) == 4


def test_the_same_episode_asks_the_same_questions(episode: Episode) -> None:
    runs = []
    for seed in (0, 0, 1):
        chat = by_name(Ann=2, Ben=7)
        judged(RubricJudge(chat, seed=seed), episode)
        runs.append(chat.requests)
    assert runs[0] == runs[1]
    assert not {r.seed for r in runs[0]} & {r.seed for r in runs[2]}


def test_the_snapshot_behind_an_alias_is_signed(episode: Episode) -> None:
    def served(request: ChatRequest) -> Answer:
        return Reply(answer(request, lambda *_: 5.0), "gpt-x-2026-01-01", 1, 1, None)

    judge = RubricJudge(FakeChat(served, id="gpt-x"))
    assert judged(judge, episode).judge_version == f"{judge.version}@gpt-x-2026-01-01"
    assert judge.id == "rubric(gpt-x)"


def test_the_version_follows_all_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    chat = FakeChat([])
    plain = RubricJudge(chat)
    assert plain.version == RubricJudge(chat, seed=5).version  # which sample, not which judge
    found = {
        plain.version,
        RubricJudge(FakeChat([], id="fake-2")).version,
        RubricJudge(chat, samples=3).version,
        RubricJudge(chat, swap=False).version,
        RubricJudge(chat, max_asks=1).version,
        RubricJudge(chat, temperature=None).version,
        RubricJudge(chat, max_tokens=10).version,
    }
    patches: list[tuple[ModuleType, str, object]] = [
        (rubric, "_TASK", "Judge."),
        (rubric, "_QUESTION", "{keys}{turns}{dimensions}?"),
        (rubric, "DIMENSION_RANGES", {**DIMENSION_RANGES, "goal": (0, 100)}),
        (versions, "ask_again", lambda request, refusal, ask: request),
        (prompt_guard, "_RULES_BEFORE", "{tag} {names}"),
        (prompt_guard, "_RULES_AFTER", "{tag}"),
        (transcript_view, "has_content", lambda text: True),
    ]
    for module, name, value in patches:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            found.add(RubricJudge(chat).version)
    assert len(found) == 14


def test_the_prompt_names_every_dimension_with_its_range(episode: Episode) -> None:
    system, user = rubric_request(episode, labels(2), seed=0).messages
    for name, (low, high) in DIMENSION_RANGES.items():
        assert f"\n{name}, {low} to {high}:" in system.content
        assert f'"{name}": a number from {low} to {high}' in user.content
    assert "0 to 3, at least one" in user.content


def test_an_episode_without_turns_can_be_judged(episode: Episode) -> None:
    def nothing_to_cite(request: ChatRequest) -> Answer:
        return answer(request, lambda *_: 0.0).replace("[0]", "[]")

    judgement = judged(RubricJudge(FakeChat(nothing_to_cite)), replace(episode, turns=()))
    assert judgement.is_scored


def test_names_are_asked_for_as_they_are_shown(episode: Episode) -> None:
    odd = Profile("A\u202enn", "  O'Brien\n")
    scenario = replace(episode.scenario, profiles=(odd, episode.scenario.profiles[1]))
    chat = FakeChat(lambda request: answer(request, lambda *_: 5.0))
    assert judged(RubricJudge(chat), replace(episode, scenario=scenario)).is_scored
    assert "Ann O'Brien" in json.dumps(record_of(chat.requests[0]))


@pytest.mark.parametrize("option", ["samples", "max_asks", "max_tokens"])
def test_options_out_of_range_are_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} of a rubric judge is 0"):
        RubricJudge(FakeChat([]), **{option: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("passes", [True, False])
def test_a_failure_that_may_pass_is_marked_whoever_asked(episode: Episode, passes: bool) -> None:
    down = RubricJudge(FakeChat(lambda request: RemoteError("It is down.", may_pass=passes)))
    good = RubricJudge(by_name(Ann=2, Ben=7))
    for judge in (down, HybridJudge(down), PanelJudge((good, down))):
        judgement = judged(judge, episode)
        assert not judgement.is_scored
        assert judgement.may_pass is passes
    assert not judged(good, episode).may_pass
