"""A run that learns nothing, or something else than it should, says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.training.played import group, played
from training.evaluation.alarms import (
    iteration_alarms,
    lost_deals,
    play_numbers,
    run_alarms,
    scored_alike,
)
from training.evaluation.outcomes import Outcome
from training.methods.records import PlayedEpisode

UPDATE = {"steps": 3.0, "loss_first": 0.69, "loss": 0.5, "chosen_log_ratio": 0.1}


def record(iteration: int = 2, **fields: object) -> dict[str, Any]:
    """An iteration in which nothing is wrong, but for the fields that are given."""
    usual = {"episodes": 100, "groups": 9, "examples": 7, "update": UPDATE}
    return {"iteration": iteration, **usual, "deal_rate": 0.9, "words_per_turn": 8.0, **fields}


def episodes(*goals: float) -> list[PlayedEpisode]:
    return [played(f"e{n}", goals=(goal, 5.0)) for n, goal in enumerate(goals)]


DIFFERENT = episodes(1.0, 2.0, 3.0, 4.0)
GROUPS = [group("g0", played("trunk"))]


def alarms(iteration: Mapping[str, Any], *before: Mapping[str, Any], **of: Any) -> dict[str, str]:
    return iteration_alarms(
        iteration, of.get("episodes", DIFFERENT), of.get("groups", GROUPS), before
    )


def test_an_ordinary_iteration_has_none() -> None:
    assert alarms(record(), record(0), record(1)) == {}
    assert alarms(record(1)) == {}
    assert alarms(record(update={}, examples=7)) == {}


def test_nothing_to_learn_from_and_nothing_scored() -> None:
    (said,) = alarms(record(examples=0, update={})).values()
    assert said.startswith("Iteration 2 has nothing to learn from: none of its 9 branch groups")
    unscored = [played("e", scored=False)]
    (said,) = alarms(record(), episodes=unscored).values()
    assert said.startswith("The judge scored none of the 1 episodes of iteration 2")
    assert "the judge timed out" in said


def test_a_judge_that_scores_everything_alike() -> None:
    (said,) = alarms(record(), episodes=episodes(6.5, 6.5, 6.5, 6.5)).values()
    assert said.startswith("The judge gave all 4 scored episodes of iteration 2 the same scores")
    assert "goals 6.5 and 5" in said
    assert alarms(record(), episodes=episodes(6.5, 6.5, 6.5)) == {}, "three may be chance"
    same = Outcome(tuple(episodes(1.0, 1.0, 1.0, 1.0)), ((0,),) * 4)
    (note,) = scored_alike({"final": {"self": same}})
    assert note.startswith("ALARM: The judge gave all 4 scored episodes of the final comparison")
    other = Outcome(tuple(DIFFERENT), ((0,),) * 4)
    assert scored_alike({"final": {"self": same}, "bc": {"self": other}}) == []


def test_all_ties() -> None:
    tie = replace(GROUPS[0], win_probs=(0.5,) * 4)
    (said,) = alarms(record(), groups=[tie, tie]).values()
    assert said.startswith("All 2 branch groups of iteration 2 are ties")
    assert alarms(record(), groups=[tie, *GROUPS]) == {}
    assert alarms(record(), groups=[]) == {}


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"loss": 6.91}, "the loss went from 0.69 to 6.91, so it diverges"),
        ({"loss": -6.91}, "so it diverges"),
        (
            {"margin": float("nan"), "accuracy": float("inf")},
            "margin, accuracy is no finite number",
        ),
        ({"chosen_log_ratio": -1.01}, "less probable than under the reference, by 1.01 nats"),
        ({"loss": 6.89}, None),
        ({"chosen_log_ratio": -0.99}, None),
        ({"loss_first": 0.0, "loss": 0.1}, None),
    ],
)
def test_numbers_of_an_update(numbers: dict[str, float], said: str | None) -> None:
    found = " ".join(alarms(record(update=UPDATE | numbers)).values())
    assert said in found if said else found == ""


def test_fewer_deals_than_chance_explains() -> None:
    """Of 100 episodes each, 0.9 and 0.69 differ by 0.21; twice their spread is 0.11."""
    (said,) = alarms(record(3, deal_rate=0.69), record(1), record(2, deal_rate=0.7)).values()
    assert "iteration 3 69% of the episodes end in a deal, and 90% did in iteration 1" in said
    assert alarms(record(deal_rate=0.71), record(1)) == {}
    few = record(1, episodes=6)  # of 6 episodes each, twice the spread is 0.45
    assert alarms(record(episodes=6, deal_rate=0.69), few) == {}
    assert alarms(record(deal_rate=0.1), record(3)) == {}, "a later one is no beginning"


def test_a_trained_policy_that_closes_far_fewer_deals_than_its_clone() -> None:
    def outcome(deals: int, of: int = 100) -> Outcome:
        closed = replace(DIFFERENT[0].episode, deal=(1,))
        refused = replace(closed, deal=None)
        ends = [closed] * deals + [refused] * (of - deals)
        return Outcome(tuple(replace(DIFFERENT[0], episode=end) for end in ends), ((0,),) * of)

    before = {"self": outcome(90), "experts": outcome(90)}
    after = {"self": outcome(69), "experts": outcome(71), "frozen_bc": outcome(0)}
    (note,) = lost_deals({"bc": before, "final": after})
    assert note.startswith(
        "ALARM: Against self 69% of the trained policy's dialogues end in a deal"
    )
    assert "90% of its clone's did" in note
    few = {"bc": {"self": outcome(5, 6)}, "final": {"self": outcome(3, 6)}}
    assert lost_deals(few) == [], "chance explains it"
    assert lost_deals({"final": after}) == [], "an evaluation has no clone"


def test_words_that_drift() -> None:
    for now, drifts in ((12.1, True), (5.3, True), (11.9, False), (5.4, False)):
        found = alarms(record(words_per_turn=now), record(1))
        assert ("words" in found) == drifts
    assert (
        "says 12.1 words a turn in iteration 2, and said 8.0 in iteration 1"
        in (alarms(record(words_per_turn=12.1), record(1))["words"])
    )


def test_how_the_policy_plays_by_hand() -> None:
    """The policy says "What about the park? (e, 0)": six words; a deal in one of two episodes."""
    own = [
        replace(played("e", scored=scored), players=("policy", "experts"))
        for scored in (True, False)
    ]
    goal = own[0].judgement.scores[0].goal
    usual = {"goal": goal, "words_per_turn": 6.0, "invalid_rate": 0.0}
    assert play_numbers(own) == usual | {"deal_rate": 0.5}
    open_ended = replace(own[0].episode, scenario=replace(own[0].episode.scenario, task=None))
    assert play_numbers([replace(own[0], episode=open_ended)]) == usual
    assert play_numbers([]) == {}


def test_the_summary_tells_each_kind_once() -> None:
    first, later = {"alarms": {"words": "A.", "ties": "T."}}, {"alarms": {"words": "B."}}
    lines = [record(0), record(1, **first), record(2, **later), record(3, **later)]
    assert run_alarms(lines) == ["ALARM: A. So it was in 2 more iterations.", "ALARM: T."]
    nothing = [record(n, examples=0) for n in range(3)]
    (note,) = run_alarms(nothing)
    assert note.startswith("ALARM: no iteration had an example to learn from")
    assert run_alarms([record(0, examples=0)]) == [], "an evaluation does not train"
