"""Measures by hand, on episodes short enough to count in the head."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from math import isnan

import pytest

from engines.types import Generation, Sampling
from envs.actions import LineCodec
from envs.scenarios.families.plans import PlansTask
from envs.social import Order, Rules, SocialState
from judges.base import DIMENSION_RANGES
from judges.verifiable import VerifiableJudge
from tests.training.lines import TASK, scenario
from tests.training.played import played as made_up
from training.evaluation.acceptance import acceptance_curve
from training.evaluation.measures import mean_measures, measure
from training.methods.records import PlayedEpisode
from training.play.collect import constraint_nats


def talk(*lines: str, task: PlansTask = TASK) -> PlayedEpisode:
    """Seats speak turn about, seat 0 first; judged by the program."""
    state = SocialState(scenario(task=task), Rules(max_turns=len(lines)))
    for line in lines:
        state.step({seat: LineCodec().decode(line) for seat in state.to_act})
    episode = state.episode()
    judgement = asyncio.run(VerifiableJudge().judge(episode))
    return PlayedEpisode("e", episode, ("p", "q"), (None,) * len(lines), 0, judgement)


def test_an_episode_by_hand() -> None:
    played = talk("say i like park", "do offer cafe", "do offer zoo", "do accept")
    first, second = measure(played, 0), measure(played, 1)
    # The deal is zoo: 3 of the 5 that seat 0 aims at, 4 of 8 for seat 1.
    assert first["goal"] == second["partner_goal"] == pytest.approx(6)
    assert second["goal"] == first["partner_goal"] == pytest.approx(5)
    # 3 + 4 of the 10 that cafe would give the two.
    assert first["joint_welfare"] == second["joint_welfare"] == pytest.approx(0.7)
    assert first["deal_rate"] == second["deal_rate"] == 1
    # "i like park" and "offer zoo": 3 and 2 words; "offer cafe" and "accept": 2 and 1.
    assert (first["words_per_turn"], second["words_per_turn"]) == (2.5, 1.5)
    assert first["turns"] == 4
    assert first["invalid_rate"] == second["invalid_rate"] == 0
    assert set(DIMENSION_RANGES) <= set(first)
    for name in DIMENSION_RANGES:
        assert first[name] == getattr(played.judgement.scores[0], name)


def test_no_deal_is_worth_nothing() -> None:
    played = talk("do offer cafe", "leave")
    for seat in (0, 1):
        found = measure(played, seat)
        assert (found["deal_rate"], found["goal"], found["joint_welfare"]) == (0, 0, 0)


def test_constrained_turns_are_averaged_and_others_left_out() -> None:
    made = Generation((1,), (2,), (-1.0,), Sampling(), 0, "v")
    held = [replace(made, constraint_nats=nats) for nats in (1.5, 4.0)]
    played = replace(
        talk("say i like zoo", "say yes", "say no", "say yes", "say no"),
        generations=(held[0], made, made, None, held[1]),
    )
    assert measure(played, 0)["constraint_nats"] == (1.5 + 4.0) / 2
    assert isnan(measure(played, 1)["constraint_nats"])
    assert constraint_nats([played]) == {}, "nobody is the policy"
    assert constraint_nats([replace(played, players=("policy", "q"))] * 2) == {
        "constraint_nats": 2.75
    }


def test_invalid_acts_are_counted_for_who_made_them() -> None:
    played = talk("do offer moon", "say i like zoo", "do offer zoo", "do accept")
    assert measure(played, 0)["invalid_rate"] == 0.5
    assert measure(played, 1)["invalid_rate"] == 0


def test_open_scenarios_have_no_welfare() -> None:
    checkable = made_up("e")
    assert measure(checkable, 0)["joint_welfare"] > 0
    episode = replace(checkable.episode, scenario=scenario(task=None))
    assert isnan(measure(replace(checkable, episode=episode), 0)["joint_welfare"])


def test_the_mean_over_seats() -> None:
    assert mean_measures([{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 2.0}]) == {"a": 2.0, "b": 2.0}


def test_the_acceptance_curve_by_hand() -> None:
    # Worth as a share of the aim, for seat 1: cafe 9/8, park 2/8, zoo 4/8.
    taken = talk("do offer zoo", "do accept")
    refused = talk("do offer zoo", "do reject", "do offer cafe", "do accept")
    countered = talk("do offer park", "do offer cafe", "do offer park", "say no", "leave")
    curve = acceptance_curve([(taken, 1), (refused, 1), (countered, 1)], seed=0)
    assert curve["bins"] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    # [0.2, 0.4): park twice, not taken; [0.4, 0.6): zoo, taken once of twice; 1 and more: cafe.
    assert [(stat["mean"], stat["n"]) for stat in curve["accept"]] == [
        (None, 0),
        (0.0, 2),
        (0.5, 2),
        (None, 0),
        (None, 0),
        (1.0, 1),
    ]


def test_the_acceptance_curve_looks_at_the_held_seat_only() -> None:
    taken = talk("do offer zoo", "do accept")
    curve = acceptance_curve([(taken, 0)], seed=0)
    assert sum(stat["n"] for stat in curve["accept"]) == 0, "seat 0 was offered nothing"


def test_in_a_common_round_only_what_lay_there_before_is_answered() -> None:
    """Seats act two by two: seat 1 accepts the zoo of the round before, not the cafe."""
    acts = ("do offer zoo", "say hello"), ("do offer cafe", "do accept")
    state = SocialState(scenario(), Rules(max_turns=4, order=Order.SIMULTANEOUS))
    for both in acts:
        state.step({seat: LineCodec().decode(line) for seat, line in enumerate(both)})
    episode = state.episode()
    judgement = asyncio.run(VerifiableJudge().judge(episode))
    played = PlayedEpisode("e", episode, ("p", "q"), (None,) * 4, 0, judgement)
    assert episode.deal == (2,)
    curve = acceptance_curve([(played, 1)], seed=0, seats_a_round=2)
    # Zoo is half of what seat 1 aims at; cafe would be more than all of it.
    assert [stat["n"] for stat in curve["accept"]] == [0, 0, 1, 0, 0, 0]


def test_a_bin_begins_at_its_lower_edge() -> None:
    # zoo is worth 3 of 5 to seat 0: exactly 0.6, the lower edge of the fourth bin.
    curve = acceptance_curve([(talk("say hello", "do offer zoo", "do accept"), 0)], seed=0)
    assert [stat["n"] for stat in curve["accept"]] == [0, 0, 0, 1, 0, 0]
