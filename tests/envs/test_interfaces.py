"""The PettingZoo and Gymnasium interfaces: their own checkers, rewards, ends and text spaces."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs
from envs.aec import SocialAEC, SocialParallel
from envs.contract import check_environments
from envs.errors import ConfigError
from envs.gym import SocialGymEnv, agreeable
from envs.social import Order, Rules
from envs.spaces import Utf8Text
from envs.types import Action, ActionType, Observation, Scenario


def test_pettingzoos_checkers_pass(pears: Scenario, chat: Scenario, trio: Scenario) -> None:
    for scenario in (pears, chat, trio):
        check_environments(scenario)


def played(scenario: Scenario, *texts: str, rules: Rules | None = None) -> SocialAEC:
    env = SocialAEC([scenario], rules)
    env.reset(seed=0)
    for text in texts:
        env.step(text)
    return env


def test_rewards_are_goals_over_ten_when_the_deal_closes(pears: Scenario) -> None:
    env = played(pears, "say hi", "do offer 2 for me")
    assert env.rewards == {"agent_0": 0.0, "agent_1": 0.0}
    env.step("do accept")
    # Seat 1 gets both pears: 2 of 1 point wanted, capped at its aim; seat 0 gets nothing.
    assert env.rewards == {"agent_0": 0.0, "agent_1": 1.0}
    assert env.terminations == {"agent_0": True, "agent_1": True}
    assert env.truncations == {"agent_0": False, "agent_1": False}
    info = {"scenario": "pears/train/0", "end": "deal", "deal": (0,)}
    assert env.infos == {"agent_0": info | {"goal": 0.0}, "agent_1": info | {"goal": 10.0}}
    env.step(None)
    env.step(None)
    assert env.agents == []


def test_the_turn_limit_truncates(pears: Scenario) -> None:
    env = played(pears, "say hi", "say hi", rules=Rules(max_turns=2))
    assert env.truncations == {"agent_0": True, "agent_1": True}
    assert env.terminations == {"agent_0": False, "agent_1": False}


def test_a_reply_that_cannot_be_read_is_an_idle_turn(pears: Scenario) -> None:
    env = played(pears, "x" * 1_000_000)
    assert "expected at most" in env.infos["agent_0"]["invalid"]
    assert "invalid" not in env.infos["agent_1"]
    assert env.observe("agent_1")["transcript"] == "agent_0: none"


def test_observations_are_of_one_seat(pears: Scenario) -> None:
    env = played(pears, "<think>my aim is 3</think> say hi", "gesture nods")
    seen = env.observe("agent_0")
    assert seen["goal"] == pears.goals[0]
    assert seen["transcript"] == "agent_0: say hi\nagent_1: gesture nods"
    assert (seen["turn"], seen["brief"]) == (2, "pear=3 aim=3")
    assert "secret: sugar" in seen["profile"]
    assert seen["partners"].startswith("name: Ben Stone\nage: 40")
    assert "salt" not in str(seen)


def test_a_simultaneous_round_takes_effect_together(pears: Scenario) -> None:
    env = played(pears, "say hi", rules=Rules(order=Order.SIMULTANEOUS))
    assert env.agent_selection == "agent_1"
    assert env.observe("agent_1")["transcript"] == ""
    env.step("say ho")
    assert env.agent_selection == "agent_0"
    assert env.observe("agent_0")["transcript"] == "agent_0: say hi\nagent_1: say ho"


def test_parallel_agents_act_at_once(pears: Scenario) -> None:
    env = SocialParallel([pears], codec="json")
    env.reset(seed=0)
    offer = '{"action_type": "action", "argument": "offer 1 for me"}'
    accept = '{"action_type": "action", "argument": "accept"}'
    env.step({"agent_0": offer, "agent_1": "?"})
    _, rewards, terminations, truncations, infos = env.step({"agent_0": "?", "agent_1": accept})
    assert rewards == {"agent_0": 1.0, "agent_1": 1.0}
    assert terminations == {"agent_0": True, "agent_1": True}
    assert not any(truncations.values())
    assert infos["agent_1"]["deal"] == (1,)
    assert env.agents == []
    with pytest.raises(ConfigError, match="use SocialAEC"):
        SocialParallel([pears], Rules())


def test_a_seed_decides_what_is_drawn(pears: Scenario, chat: Scenario) -> None:
    env = SocialAEC([pears, chat])

    def draws() -> list[str]:
        names = []
        for _ in range(8):
            env.reset()
            names.append(env.infos["agent_0"]["scenario"])
        return names

    env.reset(seed=5)
    first = draws()
    env.reset(seed=5)
    assert draws() == first
    assert len(set(first)) == 2
    env.reset(options={"scenario_index": 1})
    assert env.infos["agent_0"]["scenario"] == "chat/train/0"


def test_each_episode_draws_its_own_random_order(chat: Scenario) -> None:
    env = SocialAEC([chat], Rules(order=Order.RANDOM))
    env.reset(seed=0)
    orders = set()
    for _ in range(8):
        env.reset()
        order = []
        while env.agents and not env.truncations[env.agent_selection]:
            order.append(env.agent_selection)
            env.step("say hi")
        orders.add(tuple(order))
    assert len(orders) == 8


def test_the_longest_transcript_is_in_the_observation_space(chat: Scenario) -> None:
    env = SocialAEC([chat], Rules(max_turns=2), codec="json")
    env.reset()
    # As long as an action may be; written as JSON again, each quotation mark takes two characters.
    longest = '{"action_type":"speak","argument":"' + r"\u0022" * 1_600 + '"}'
    for _ in range(2):
        env.step(longest)
    seen = env.observe("agent_0")
    assert seen["transcript"].count('\\"') == 3_200
    assert seen in env.observation_space("agent_0")


# --- Gymnasium -------------------------------------------------------------------------------


def test_gymnasiums_checker_passes(pears: Scenario) -> None:
    for seat in (0, 1):
        env = gymnasium.make(envs.GYM_ID, scenarios=(pears,), seat=seat)
        check_env(env.unwrapped)


def test_one_step_is_an_own_action_and_the_partners_answer(pears: Scenario) -> None:
    env = SocialGymEnv([pears], render_mode="ansi")
    env.reset(seed=0)
    _, reward, *_ = env.step("say hi")
    assert reward == 0.0
    seen, reward, terminated, truncated, info = env.step("do offer 2 for me")
    assert (reward, terminated, truncated, info["deal"]) == (1.0, True, False, (2,))
    assert env.render() == seen["transcript"]
    assert seen["transcript"].splitlines()[1] == "agent_1: say What do you offer?"


def test_a_partner_may_end_the_episode_before_the_first_own_turn(pears: Scenario) -> None:
    def rude(observation: Observation) -> Action:
        assert observation.view.seat == 0
        return Action(ActionType.LEAVE)

    env = SocialGymEnv([pears], partner=rude, seat=1)
    _, info = env.reset(seed=0)
    assert info["end"] == "left"
    _, reward, terminated, truncated, _ = env.step("say wait")
    assert (reward, terminated, truncated) == (0.0, True, False)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vector_environments(pears: Scenario, mode: str) -> None:
    extra = {"vector_kwargs": {"shared_memory": False}} if mode == "async" else {}
    vector = gymnasium.make_vec(
        envs.GYM_ID, num_envs=2, vectorization_mode=mode, scenarios=(pears,), **extra
    )
    try:
        seen, _ = vector.reset(seed=0)
        assert seen["goal"] == (pears.goals[0],) * 2
        _, rewards, terminated, _, infos = vector.step(("do offer 2 for me", "say hi"))
        np.testing.assert_array_equal(rewards, [1.0, 0.0])
        np.testing.assert_array_equal(terminated, [True, False])
        assert infos["deal"][0] == (2,)
    finally:
        vector.close()


def test_bad_options_are_refused(pears: Scenario, trio: Scenario) -> None:
    with pytest.raises(ConfigError, match="no scenarios"):
        SocialGymEnv([])
    with pytest.raises(ConfigError, match=r"\[2, 3\] seats"):
        SocialAEC([pears, trio])
    with pytest.raises(ConfigError, match="codec='yaml'"):
        SocialAEC([pears], codec="yaml")
    with pytest.raises(ConfigError, match="seat=2"):
        SocialGymEnv([pears], partner=agreeable, seat=2)
    with pytest.raises(ConfigError, match="scenario_index=1"):
        SocialGymEnv([pears]).reset(options={"scenario_index": 1})
    with pytest.raises(ConfigError, match=r"before reset\(\)"):
        SocialAEC([pears]).observe("agent_0")


# --- the text space --------------------------------------------------------------------------


def test_the_text_space_holds_what_utf8_can_hold() -> None:
    space = Utf8Text(5)
    assert "" in space
    assert "\u4e16\U0001f642\n" in space
    assert "123456" not in space
    assert "a\ud800" not in space
    assert 3 not in space


def test_samples_are_seeded_and_in_the_space() -> None:
    one, two = Utf8Text(7, examples=["leave"], seed=1), Utf8Text(7, examples=["leave"], seed=1)
    samples = [one.sample() for _ in range(50)]
    assert samples == [two.sample() for _ in range(50)]
    assert all(sample in one for sample in samples)
    assert "leave" in samples
    assert len(set(samples)) > 10
    assert one == Utf8Text(7)
    assert one != Utf8Text(8)
    with pytest.raises(ConfigError, match="masks"):
        one.sample(mask=1)
    with pytest.raises(ConfigError, match="max_chars=0"):
        Utf8Text(0)
