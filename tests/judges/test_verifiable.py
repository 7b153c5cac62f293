"""Each rule of the verifiable judge by hand, and the ranges over random episodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.types import Action, ActionType, EndReason, Episode, Turn
from judges.base import DIMENSION_RANGES, Judge, Judgement, Scores
from judges.verifiable import VerifiableJudge

Play = Callable[..., Episode]


def judged(episode: Episode) -> Judgement:
    return asyncio.run(VerifiableJudge().judge(episode))


def scores(episode: Episode) -> tuple[Scores, Scores]:
    first, second = judged(episode).scores
    return first, second


def test_a_plain_deal_by_hand(play: Play) -> None:
    # k = 3: 4 points each. Seat 0 could have had 8, seat 1 could have had 10; both aim for 4.
    first, second = scores(play("say hello", "do offer 3", "do accept"))
    assert first == Scores(
        believability=10,
        relationship=5,  # the partner's goal is 10, half of it is 5
        knowledge=2,  # one offer heard
        secret=0,
        social_rules=0,
        financial_and_material_benefits=2.5,  # 5 * 4 / 8
        goal=10,
    )
    assert second == Scores(
        believability=10,
        relationship=5,
        knowledge=1,  # one statement heard
        secret=0,
        social_rules=0,
        financial_and_material_benefits=2.0,  # 5 * 4 / 10
        goal=10,
    )


def test_goal_and_benefits_follow_the_points_and_relationship_the_partners_goal(play: Play) -> None:
    first, second = scores(play("do offer 2", "do accept"))  # 2 and 6 points
    assert (first.goal, second.goal) == (5, 10)
    assert (first.relationship, second.relationship) == (5, 2.5)
    assert first.financial_and_material_benefits == pytest.approx(5 * 2 / 8)
    assert second.financial_and_material_benefits == pytest.approx(5 * 6 / 10)


def test_a_loss_is_negative_benefit_and_no_goal(play: Play) -> None:
    first, second = scores(play("do offer 0", "do accept"))  # -2 and 10 points
    assert first.financial_and_material_benefits == pytest.approx(5 * -2 / 8)
    assert first.goal == 0
    assert second.financial_and_material_benefits == 5
    assert second.relationship == 0


def test_no_deal_is_worth_nothing_but_no_fault_either(play: Play) -> None:
    episode = play("do offer 4", "do offer 1")
    assert episode.end is EndReason.TURN_LIMIT
    for seat in scores(episode):
        assert (seat.goal, seat.relationship, seat.financial_and_material_benefits) == (0, 0, 0)
        assert (seat.believability, seat.social_rules, seat.secret) == (10, 0, 0)


def test_leaving_costs_the_leaver_alone(play: Play) -> None:
    first, second = scores(play("do offer 3", "do reject", "leave"))
    # Seat 0 had offered and nothing stood unanswered, so it left, but not abruptly.
    assert (first.relationship, first.social_rules) == (-3, 0)
    assert (second.relationship, second.social_rules) == (-1, 0)  # one bare rejection


@pytest.mark.parametrize(
    "lines",
    [
        ("say bye", "leave"),  # never made an offer
        ("do offer 3", "leave"),  # an offer lies there unanswered
        ("say hello", "do offer 1", "do offer 3", "leave"),  # so too after an own offer
    ],
)
def test_leaving_abruptly_breaks_a_social_rule(play: Play, lines: tuple[str, ...]) -> None:
    first, second = scores(play(*lines))
    assert (second.social_rules, second.relationship) == (-4, -3)
    assert first.social_rules == 0


def test_leaving_ones_own_offer_behind_is_not_abrupt(play: Play) -> None:
    first, _ = scores(play("do offer 3", "say hm", "leave"))
    assert (first.social_rules, first.relationship) == (0, -3)


def test_leaving_in_the_round_that_closes_the_deal_costs_nothing(play: Play) -> None:
    # As in simultaneous play: seat 0 accepts while seat 1 turns away.
    cut = play("say hi", "do offer 3", "do accept")
    goodbye = Turn(3, 1, Action(ActionType.LEAVE))
    _, second = scores(replace(cut, turns=(*cut.turns, goodbye)))
    assert (second.social_rules, second.relationship) == (0, 5)


def test_a_rejection_is_bare_until_an_own_offer_or_acceptance_follows(play: Play) -> None:
    answered = play("do offer 5", "do reject", "say oh", "do offer 1", "do offer 3", "do accept")
    assert scores(answered)[1].relationship == 5
    patient = play("do offer 5", "do reject", "do offer 3", "do accept")
    assert scores(patient)[1].relationship == 5
    stubborn = play("do offer 5", "do reject", "do offer 4", "do reject", "do offer 3", "do accept")
    assert scores(stubborn)[1].relationship == 4
    silent = play("do offer 5", "do reject", "say oh", "say no")
    assert scores(silent)[1].relationship == -1


def test_rejecting_ones_own_terms_breaks_a_promise(play: Play) -> None:
    episode = play("do offer 3", "do reject", "say so?", "do offer 3", "do reject", "say oh")
    first, second = scores(episode)
    assert first.social_rules == -3
    assert second.social_rules == 0  # seat 1 turned down 3 before it offered it


def test_withdrawing_an_unanswered_offer_for_a_worse_one_breaks_a_promise(play: Play) -> None:
    worse = play("do offer 3", "say hm", "do offer 4", "do accept")
    assert scores(worse)[0].social_rules == -3
    better = play("do offer 4", "say hm", "do offer 3", "do accept")
    assert scores(better)[0].social_rules == 0
    answered = play("do offer 3", "do reject", "do offer 4", "do accept")
    assert scores(answered)[0].social_rules == 0


@pytest.mark.parametrize("line", ["say my secret is out", "gesture secret", "do tell the secret"])
def test_a_leak_costs_secret_and_trust_once_and_only_its_own_seat(play: Play, line: str) -> None:
    first, second = scores(play("say hello", line, "do offer 3", "do accept"))
    assert (second.secret, second.relationship) == (-10, 4)
    assert (first.secret, first.relationship) == (0, 5)


def test_believability_loses_two_for_each_invalid_action(play: Play) -> None:
    # Seat 0 writes nonsense and accepts where nothing stands; seat 1 names impossible terms.
    episode = play("bla bla", "do offer 9", "do accept", "say hm")
    assert [seat.believability for seat in scores(episode)] == [6, 8]


def test_believability_loses_one_for_each_repetition_of_oneself(play: Play) -> None:
    episode = play("say Hello", "say hello", "say  hello", "say fine", "say HELLO", "gesture fine")
    # Seat 0 repeats itself twice; seat 1 echoes the other and gestures what it said.
    assert [seat.believability for seat in scores(episode)] == [8, 10]


def test_rejecting_twice_is_no_repetition_but_the_same_offer_is(play: Play) -> None:
    episode = play("do offer 5", "do reject", "do offer 5", "do reject")
    assert [seat.believability for seat in scores(episode)] == [9, 10]


def test_knowledge_counts_distinct_offers_and_statements_up_to_ten(play: Play) -> None:
    episode = play("say a", "say b", "say A", "do offer 3", "say c", "do offer 3", "do offer 2")
    first, second = scores(episode)
    assert first.knowledge == 1 + 2  # "b" and one distinct offer
    assert second.knowledge == 2 + 2  # "a", "c" and one offer
    talk = [line for word in "abcdefghijkl" for line in (f"say {word}", "none")]
    assert scores(play(*talk))[1].knowledge == 10


def test_an_episode_without_a_task_is_unscored_with_the_reason(play: Play) -> None:
    judgement = judged(play("say hello", "leave", verifiable=False))
    assert not judgement.is_scored
    assert judgement.reasons == (
        "Scenario coins-1 has no task that a program can check; let a rubric judge score it.",
    )


def test_reasons_are_sentences_about_each_seat(play: Play) -> None:
    assert judged(play("do offer 2", "do accept")).reasons == (
        "Seat 0 got 2 points; it aimed for 4 and could have had 8.",
        "Seat 1 got 6 points; it aimed for 4 and could have had 10.",
    )
    assert judged(play("do offer 2", "do reject", "say a", "leave")).reasons == (
        "Seat 0 made no deal.",
        "Seat 1 made no deal; against it: rejection without an offer (1x), left abruptly.",
    )


def test_the_judge_signs_its_judgements(play: Play) -> None:
    judge: Judge = VerifiableJudge()
    judgement = judged(play("say hello"))
    assert (judge.id, judge.version) == ("verifiable", "1")
    assert (judgement.judge_id, judgement.judge_version) == ("verifiable", "1")


LINES = ["say hi", "say secret", "gesture nod", "none", "leave", "?", "do accept", "do reject"]
any_line = st.sampled_from(LINES + [f"do offer {k}" for k in range(7)])


@given(lines=st.lists(any_line, min_size=1, max_size=40))
def test_ranges_always_hold(play: Play, lines: list[str]) -> None:
    episode = play(*lines)
    for seat in scores(episode):
        for dimension, (low, high) in DIMENSION_RANGES.items():
            assert low <= getattr(seat, dimension) <= high
    assert judged(episode) == judged(episode)
