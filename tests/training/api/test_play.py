"""Players of one's own in the world, from Python."""

from __future__ import annotations

import asyncio

import gymnasium
import pytest

import parley
from agents.function import History
from envs.errors import ConfigError, DataError


def accepts(history: History) -> str:
    return "/accept" if history.offer else "What do you offer?"


async def accepts_later(history: History) -> str:
    await asyncio.sleep(0)
    return accepts(history)


def test_a_function_and_an_async_one_play_alike() -> None:
    plain, later = (
        parley.play(agent, "experts", scenarios="price/test/0", episodes=2, seed=3)
        for agent in (accepts, accepts_later)
    )
    assert [d.lines() for d in plain] == [d.lines() for d in later]
    assert {d.end for d in plain} == {"deal"}
    assert plain[0].played.players[0] == "accepts"


def test_it_is_told_its_own_side_alone() -> None:
    seen: list[History] = []

    def looks(history: History) -> str:
        seen.append(history)
        return "Hello."

    scenario = parley.scenario_of("camp/test/1")
    parley.play(looks, "experts", scenarios=scenario, max_turns=4)
    first = seen[0]
    assert first.goal == scenario.goals[0]
    assert scenario.goals[1] not in str(first)
    assert first.messages[0]["role"] == "system"
    assert (first.seat, first.last, first.offer) == (0, "", "")


def test_what_is_wrong_with_an_agent_is_said() -> None:
    with pytest.raises(ConfigError, match="returned NoneType, but must return text"):
        parley.play(lambda history: None, "experts", scenarios="price/test/0")  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigError, match=r"There is no player expert\. Did you mean experts\?"):
        parley.play(accepts, "expert", scenarios="price/test/0")
    with pytest.raises(ConfigError, match="expected a function that takes a history"):
        parley.play(3, "experts", scenarios="price/test/0")


def test_a_dialogue_is_a_row_and_reads_well() -> None:
    (dialogue,) = parley.play(accepts, "experts", scenarios="plans/test/0")
    row = dialogue.row()
    assert row["scenario"] == "plans/test/0"
    assert (row["goal_0"], row["goal_1"]) == dialogue.goals
    assert row["overall_0"] == pytest.approx(dialogue.scores[0].overall)
    assert "Goals: " in repr(dialogue)


def test_a_dialogue_from_elsewhere_is_judged() -> None:
    found = parley.judge_lines("price/test/0", ["Good morning.", "/offer price=12", "/accept"])
    assert (found.end, found.deal) == ("deal", "price=12")
    with pytest.raises(DataError, match="Line 4 comes after the end of the dialogue"):
        parley.judge_lines("price/test/0", ["Hi.", "/offer price=12", "/accept", "Thanks."])


def test_it_works_inside_a_running_loop() -> None:
    """As in a notebook, whose kernel runs a loop of its own."""

    async def cell() -> str:
        (dialogue,) = parley.play(accepts_later, "experts", scenarios="price/test/0")
        return dialogue.end

    assert asyncio.run(cell()) == "deal"


def test_the_environment_takes_ids() -> None:
    env = gymnasium.make(parley.GYM_ID, scenarios=["camp/test/3"])
    observation, _ = env.reset(seed=0)
    assert observation["goal"] == parley.scenario_of("camp/test/3").goals[0]
    with pytest.raises(DataError):
        gymnasium.make(parley.GYM_ID, scenarios=["camp/test/x"])
