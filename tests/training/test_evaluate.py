"""Evaluation: all policies meet the same scenarios, seats and seeds; each scenario counts once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agents.scripted import ScriptedExperts
from envs.scenarios import draw_mixture
from envs.types import Scenario
from judges.base import Judgement, Scores
from tests.training.lines import line_player, play_lines, scenario
from tests.training.played import played as made_up
from training.evaluation.episodes import evaluation_plans
from training.evaluation.measures import measure
from training.evaluation.outcomes import Outcome, by_family, paired_statistics, statistics
from training.methods.records import PlayedEpisode

EXPERTS = ScriptedExperts()
SCENARIOS = draw_mixture({"plans": 0.5, "price": 0.5}, "test", 6)


@pytest.mark.parametrize("partner", ["self", "experts"])
def test_places_do_not_depend_on_the_policy(partner: str) -> None:
    one, other = line_player("one"), line_player("other")
    plans, seats = evaluation_plans(one, EXPERTS, partner, SCENARIOS, seed=3)
    twins, twin_seats = evaluation_plans(other, EXPERTS, partner, SCENARIOS, seed=3)
    assert seats == twin_seats
    for plan, twin in zip(plans, twins, strict=True):
        assert (plan.id, plan.scenario, plan.seed) == (twin.id, twin.scenario, twin.seed)
    assert [plan.scenario for plan in plans] == SCENARIOS
    assert len({plan.seed for plan in plans}) == len({plan.id for plan in plans}) == 6


def test_a_longer_evaluation_begins_like_a_short_one() -> None:
    policy = line_player()
    few, _ = evaluation_plans(policy, EXPERTS, "experts", SCENARIOS[:3], seed=3)
    many, _ = evaluation_plans(policy, EXPERTS, "experts", SCENARIOS, seed=3)
    assert many[:3] == few


def test_the_policy_holds_every_other_seat_and_both_against_itself() -> None:
    policy = line_player()
    plans, seats = evaluation_plans(policy, EXPERTS, "experts", SCENARIOS, seed=0)
    assert seats == ((0,), (1,), (0,), (1,), (0,), (1,))
    assert plans[0].players == (policy, EXPERTS)
    assert plans[1].players == (EXPERTS, policy)
    plans, seats = evaluation_plans(policy, policy, "self", SCENARIOS, seed=0)
    assert seats == ((0, 1),) * 6
    assert all(plan.players == (policy, policy) for plan in plans)


def test_both_seats_of_each_scenario_in_a_fixed_order() -> None:
    policy = line_player()
    plans, seats = evaluation_plans(policy, EXPERTS, "experts", SCENARIOS, seed=0, both_seats=True)
    assert seats == ((0,), (1,)) * 6
    assert [plan.scenario for plan in plans] == [s for s in SCENARIOS for _ in range(2)]
    assert plans[0].players == plans[2].players == (policy, EXPERTS)
    assert plans[1].players == (EXPERTS, policy)
    assert len({plan.seed for plan in plans}) == len({plan.id for plan in plans}) == 12
    alone, both = evaluation_plans(policy, policy, "self", SCENARIOS, seed=0, both_seats=True)
    assert both == ((0, 1),) * 6
    assert [plan.scenario for plan in alone] == SCENARIOS


def test_several_episodes_begin_with_the_only_one() -> None:
    policy = line_player()
    once, _ = evaluation_plans(policy, EXPERTS, "experts", SCENARIOS, seed=3, both_seats=True)
    often, seats = evaluation_plans(
        policy, EXPERTS, "experts", SCENARIOS, seed=3, both_seats=True, episodes=3
    )
    assert often[::3] == once
    assert seats == ((0,),) * 3 + ((1,),) * 3 + seats[6:]
    assert len({plan.seed for plan in often}) == len({plan.id for plan in often}) == 36
    alone, _ = evaluation_plans(policy, policy, "self", SCENARIOS, seed=3, episodes=2)
    assert [plan.scenario for plan in alone] == [s for s in SCENARIOS for _ in range(2)]


def test_equal_policies_do_not_differ() -> None:
    outcomes = []
    for _ in range(2):
        plans, seats = evaluation_plans(line_player(), EXPERTS, "experts", SCENARIOS[::2], seed=1)
        outcomes.append(Outcome(tuple(play_lines(*plans)), seats))
    paired = paired_statistics(outcomes[0], outcomes[1], seed=0)
    assert paired.pop("constraint_nats")["mean"] is None, "nothing was constrained"
    assert all(stat == {"mean": 0, "ci95": [0, 0], "n": 3} for stat in paired.values())


def scored(number: int, first: float, second: float, family: str = "plans") -> PlayedEpisode:
    """An episode on scenario `number` that ends with these goals."""
    place = replace(scenario(number), id=f"{family}/test/{number}")
    scores = tuple(Scores(9, 0, 0, 0, 0, 0, goal) for goal in (first, second))
    episode = replace(made_up("e").episode, scenario=place)
    return replace(
        made_up("e"), episode=episode, judgement=Judgement("verifiable", "1", scores, ("", ""))
    )


def unscored(number: int) -> PlayedEpisode:
    failed = Judgement("rubric", "1", (), ("no answer",))
    return replace(scored(number, 0, 0), judgement=failed)


def goal(found: dict[str, Any]) -> tuple[float, int]:
    return found["goal"]["mean"], found["goal"]["n"]


def test_statistics_by_hand() -> None:
    outcome = Outcome((scored(0, 4, 9), scored(1, 4, 9)), ((0,), (1,)))
    found = statistics(outcome, seed=0)
    assert goal(found) == (6.5, 2)  # seat 0 got 4, seat 1 got 9
    assert found["partner_goal"]["mean"] == 6.5
    assert outcome.held() == [(outcome.episodes[0], 0), (outcome.episodes[1], 1)]


def test_both_seats_of_self_play_count_as_one_episode() -> None:
    outcome = Outcome((scored(0, 4, 9), scored(1, 2, 3)), ((0, 1), (0, 1)))
    assert outcome.measures()["plans/test/0"]["goal"] == 6.5
    assert goal(statistics(outcome, seed=0)) == (4.5, 2)  # of 6.5 and 2.5
    assert len(outcome.held()) == 4


def test_paired_statistics_by_hand() -> None:
    before = Outcome((scored(0, 1, 0), scored(1, 0, 5), scored(2, 9, 0)), ((0,), (1,), (0,)))
    after = Outcome((scored(0, 3, 0), scored(1, 0, 6), scored(2, 9, 0)), ((0,), (1,), (0,)))
    found = paired_statistics(after, before, seed=0)
    assert goal(found) == (pytest.approx(1.0), 3)  # of 3 - 1, 6 - 5 and 9 - 9
    low, high = found["goal"]["ci95"]  # type: ignore[index]
    assert 0 <= low <= 1 <= high <= 2


def test_what_is_unscored_is_left_out_and_counted() -> None:
    before = Outcome((scored(0, 1, 0), unscored(1), scored(2, 5, 0)), ((0,),) * 3)
    after = Outcome((scored(0, 4, 0), scored(1, 9, 0), unscored(2)), ((0,),) * 3)
    assert (before.unscored, after.unscored) == (1, 1)
    assert goal(statistics(before, seed=0)) == (3, 2)
    assert goal(paired_statistics(after, before, seed=0)) == (3, 1)  # scenario 0 alone has both
    nothing = Outcome((unscored(0),), ((0,),))
    assert statistics(nothing, seed=0) == paired_statistics(after, nothing, seed=0) == {}


def test_a_scenario_played_from_both_seats_counts_once_and_only_when_both_are_scored() -> None:
    twice = Outcome((scored(0, 4, 9), scored(0, 2, 8), scored(1, 5, 5)), ((0,), (1,), (0,)))
    assert goal(statistics(twice, seed=0)) == (5.5, 2)  # (4 + 8) / 2 and 5
    half = Outcome((scored(0, 4, 9), unscored(0), scored(1, 5, 5)), ((0,), (1,), (0,)))
    assert goal(statistics(half, seed=0)) == (5, 1)
    assert half.unscored == 1


def test_several_episodes_are_averaged_by_seat_and_one_that_failed_loses_no_scenario() -> None:
    # From seat 0: 4 and 6, from seat 1: 9 and one without scores; so (5 + 9) / 2.
    episodes = (scored(0, 4, 0), scored(0, 6, 0), scored(0, 0, 9), unscored(0), scored(1, 3, 0))
    outcome = Outcome(episodes, ((0,), (0,), (1,), (1,), (0,)))
    assert outcome.measures()["plans/test/0"]["goal"] == 7
    assert goal(statistics(outcome, seed=0)) == (5, 2)  # of 7 and 3
    assert outcome.unscored == 1
    # Nothing is left of seat 1: the other seat alone would be another quantity.
    assert Outcome(episodes[:2] + episodes[3:4], ((0,), (0,), (1,))).measures() == {}


def test_what_came_of_some_scenarios_alone() -> None:
    outcome = Outcome((scored(0, 4, 9), unscored(1), scored(2, 2, 3)), ((0,), (1,), (0, 1)))
    some = outcome.of({"plans/test/1", "plans/test/2"})
    assert some == Outcome(outcome.episodes[1:], ((1,), (0, 1)))
    assert (some.unscored, goal(statistics(some, seed=0))) == (1, (2.5, 1))


def test_families_apart() -> None:
    outcome = Outcome((scored(0, 1, 0), scored(0, 3, 0, "price"), scored(1, 2, 0)), ((0,),) * 3)
    found = by_family(outcome, seed=0)
    assert {name: goal(stats) for name, stats in found.items()} == {
        "plans": (1.5, 2),
        "price": (3, 1),
    }


def test_an_open_scenario_has_no_welfare_and_harms_no_mean() -> None:
    checkable, other = scored(0, 4, 4), scored(1, 6, 6)
    bare: Scenario = replace(other.episode.scenario, task=None)
    outcome = Outcome(
        (checkable, replace(other, episode=replace(other.episode, scenario=bare))), ((0,), (0,))
    )
    found = statistics(outcome, seed=0)
    assert goal(found) == (5, 2)
    assert found["joint_welfare"]["mean"] == measure(checkable, 0)["joint_welfare"]  # type: ignore[index]
    paired = paired_statistics(outcome, outcome, seed=0)
    assert paired["joint_welfare"]["n"] == 1  # type: ignore[index]
