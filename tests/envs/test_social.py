"""The state machine: whose turn it is, how it ends, who sees what, and exact forks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs.actions import CODECS
from envs.errors import ActionError, ConfigError, DataError, EpisodeOverError, OutOfTurnError
from envs.random_play import play_randomly
from envs.scenarios import draw
from envs.social import Order, Rules, SocialState, replay, view_of
from envs.types import Action, ActionType, EndReason, Profile, Relationship, Scenario, Turn

SAY = Action(ActionType.SPEAK, "hello")
NONE = Action(ActionType.NONE)
LEAVE = Action(ActionType.LEAVE)


def act(words: str) -> Action:
    return Action(ActionType.ACT, words)


def played(scenario: Scenario, *actions: Action, rules: Rules | None = None) -> SocialState:
    state = SocialState(scenario, rules)
    for action in actions:
        state.step({state.to_act[0]: action})
    return state


def test_seats_take_turns_and_turns_are_numbered(pears: Scenario) -> None:
    state = played(pears, SAY, NONE, SAY)
    assert state.turns == (Turn(0, 0, SAY), Turn(1, 1, NONE), Turn(2, 0, SAY))
    assert state.to_act == (1,)
    assert state.observe(1).turns_left == 17


def test_accepting_ends_with_the_deal(pears: Scenario) -> None:
    state = played(pears, act("offer 2 for me"), act("offer 1 for me"), act("accept"))
    assert (state.end, state.to_act) == (EndReason.DEAL, ())
    assert state.episode().deal == (1,)


def test_leaving_ends_without_a_deal(pears: Scenario) -> None:
    episode = played(pears, act("offer 2 for me"), LEAVE).episode()
    assert (episode.end, episode.deal) == (EndReason.LEFT, None)


def test_the_third_idle_turn_in_a_row_is_stale(chat: Scenario) -> None:
    assert played(chat, NONE, NONE, SAY, NONE, NONE).end is None
    assert played(chat, NONE, NONE, SAY, NONE, NONE, NONE).end is EndReason.STALE


def test_the_turn_limit_counts_both_seats(chat: Scenario) -> None:
    assert played(chat, SAY, SAY, rules=Rules(max_turns=3)).end is None
    assert played(chat, SAY, SAY, SAY, rules=Rules(max_turns=3)).end is EndReason.TURN_LIMIT


def test_a_deal_on_the_last_turn_is_a_deal(pears: Scenario) -> None:
    state = played(pears, act("offer 2 for me"), act("accept"), rules=Rules(max_turns=2))
    assert state.end is EndReason.DEAL


def test_a_refused_act_is_recorded_with_the_reason(pears: Scenario) -> None:
    (turn,) = played(pears, act("accept")).turns
    assert turn.action.type is ActionType.NONE
    assert turn.action.argument == ""
    assert "no offer stands" in (turn.action.invalid or "")


def test_without_a_task_offers_are_free_acts(chat: Scenario) -> None:
    state = played(chat, act("offer whatever"), act("accept"))
    assert [turn.action.invalid for turn in state.turns] == [None, None]
    assert state.end is None


def test_errors_are_sentences(chat: Scenario) -> None:
    state = played(chat, SAY, SAY)
    with pytest.raises(OutOfTurnError) as wrong:
        state.step({1: SAY})
    assert str(wrong.value) == "step() by agent_1 but it is agent_0's turn (turn 3 of 20)"
    with pytest.raises(OutOfTurnError, match="by nobody"):
        state.step({})
    with pytest.raises(ActionError, match="still goes on"):
        state.episode()
    assert len(state.turns) == 2
    state.step({0: LEAVE})
    with pytest.raises(EpisodeOverError, match=r"step\(\) by agent_1 after the end \(left\)"):
        state.step({1: SAY})
    with pytest.raises(EpisodeOverError):
        state.step({})


# --- simultaneous rounds ---------------------------------------------------------------------

TOGETHER = Rules(order=Order.SIMULTANEOUS)


def test_a_round_needs_every_seat_and_counts_a_turn_for_each(trio: Scenario) -> None:
    state = SocialState(trio, TOGETHER)
    assert state.to_act == (0, 1, 2)
    with pytest.raises(OutOfTurnError, match="agent_0 and agent_1 but it is agent_0 and agent_1 a"):
        state.step({0: SAY, 1: SAY})
    for _ in range(6):
        state.step({2: SAY, 0: SAY, 1: NONE})
    assert [turn.seat for turn in state.turns[:4]] == [0, 1, 2, 0]
    # Six whole rounds of three fit into 20 turns.
    assert (len(state.turns), state.end) == (18, EndReason.TURN_LIMIT)


def test_nobody_accepts_an_offer_made_in_the_same_round(pears: Scenario) -> None:
    state = SocialState(pears, TOGETHER)
    state.step({0: act("offer 2 for me"), 1: act("accept")})
    assert "no offer stands" in (state.turns[1].action.invalid or "")
    assert state.table.standing == (2,)
    state.step({0: act("offer 1 for me"), 1: act("accept")})
    assert state.episode().deal == (2,)


def test_a_new_offer_outlives_a_rejection_of_the_old_one(pears: Scenario) -> None:
    for rejecting in (0, 1):
        state = SocialState(pears, TOGETHER)
        state.step({1 - rejecting: act("offer 2 for me"), rejecting: SAY})
        state.step({1 - rejecting: act("offer 1 for me"), rejecting: act("reject")})
        assert state.table.standing == (1,)
        assert state.table.offered_by == 1 - rejecting


def test_random_order_depends_on_the_seed_alone(chat: Scenario) -> None:
    rules = Rules(order=Order.RANDOM)
    orders = {
        seed: [turn.seat for turn in play_randomly(chat, rules, seed).turns] for seed in range(8)
    }
    assert {seat for order in orders.values() for seat in order} == {0, 1}
    assert len({tuple(order) for order in orders.values()}) > 4
    assert orders[3] == [turn.seat for turn in play_randomly(chat, rules, 3).turns]


# --- who sees what ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relationship", "known"),
    [
        (Relationship.STRANGER, None),
        (Relationship.KNOW_BY_NAME, Profile("Ben", "Stone")),
        (
            Relationship.ACQUAINTANCE,
            Profile("Ben", "Stone", 40, "mason", public_info="builds walls"),
        ),
        *(
            (
                closeness,
                Profile("Ben", "Stone", 40, "mason", public_info="builds walls", big_five="calm"),
            )
            for closeness in (Relationship.FRIEND, Relationship.ROMANTIC, Relationship.FAMILY)
        ),
    ],
)
def test_closer_people_know_more_but_never_the_secret(
    pears: Scenario, relationship: Relationship, known: Profile | None
) -> None:
    view = view_of(replace(pears, relationship=relationship), 0)
    assert view.partners == (known,)
    assert view.profile.secret == "sugar"
    shown = repr(view)
    assert "salt" not in shown
    assert pears.goals[1] not in shown
    assert pears.briefs[1] not in shown


def test_the_view_is_made_once(pears: Scenario) -> None:
    state = SocialState(pears)
    first = state.observe(1)
    state.step({0: SAY})
    assert state.observe(1).view is first.view
    assert state.observe(1).turns == (Turn(0, 0, SAY),)
    assert first.turns == ()


# --- forks -----------------------------------------------------------------------------------

replies = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            *("do accept", "do reject", "do offer 1 for me", "do offer 2 for me", "do offer x"),
            *("say hi", "say hi", "none", "leave", "x" * 1_000_000, "say a\x00b", "<think>open"),
        ]
    ),
)


@settings(suppress_health_check=[HealthCheck.large_base_example, HealthCheck.data_too_large])
@given(
    texts=st.lists(replies, min_size=42, max_size=42),
    order=st.sampled_from(Order),
    seed=st.integers(0, 1_000),
    fork_at=st.integers(0, 19),
)
def test_random_play_never_fails_and_forks_are_exact(
    pears: Scenario, texts: list[str], order: Order, seed: int, fork_at: int
) -> None:
    rules = Rules(order=order)
    state = SocialState(pears, rules, seed)
    decoded = iter([CODECS["line"].decode(text) for text in texts])
    fork, trunk_length = state.snapshot(), 0
    while state.end is None:
        if len(state.turns) <= fork_at:
            fork, trunk_length = state.snapshot(), len(state.turns)
        state.step({seat: next(decoded) for seat in state.to_act})
    episode = state.episode()
    assert len(episode.turns) <= rules.max_turns
    assert [turn.index for turn in episode.turns] == list(range(len(episode.turns)))

    restored = SocialState.restore(fork)
    assert restored.turns == episode.turns[:trunk_length]
    assert restored.snapshot() == fork
    rest = iter(episode.turns[trunk_length:])
    while restored.end is None:
        restored.step({seat: next(rest).action for seat in restored.to_act})
    assert restored.episode() == episode
    # The first branch left no trace in the snapshot.
    assert SocialState.restore(fork).turns == episode.turns[:trunk_length]

    replayed = replay(pears, rules, episode.turns[:trunk_length], seed)
    assert replayed.snapshot() == fork
    assert replayed.to_act == SocialState.restore(fork).to_act


def test_replay_refuses_turns_that_do_not_fit(chat: Scenario) -> None:
    with pytest.raises(OutOfTurnError):
        replay(chat, Rules(), [Turn(0, 1, SAY)])
    with pytest.raises(OutOfTurnError, match="by agent_0 but it is agent_0 and agent_1"):
        replay(chat, TOGETHER, [Turn(0, 0, SAY)])
    with pytest.raises(EpisodeOverError):
        replay(chat, Rules(), [Turn(0, 0, LEAVE), Turn(1, 1, SAY)])


# --- bad input -------------------------------------------------------------------------------


def test_bad_rules_and_scenarios_are_refused(pears: Scenario, trio: Scenario) -> None:
    with pytest.raises(ConfigError, match="max_turns=0"):
        Rules(max_turns=0)
    with pytest.raises(ConfigError, match="max_stale=-1"):
        Rules(max_stale=-1)
    with pytest.raises(ConfigError, match="3 simultaneous seats"):
        SocialState(trio, Rules(max_turns=2, order=Order.SIMULTANEOUS))
    with pytest.raises(DataError, match="1 goals"):
        SocialState(replace(pears, goals=("alone",)))
    with pytest.raises(DataError, match="verifiable task and 3 seats"):
        SocialState(replace(trio, task=pears.task))


def test_words_are_said_even_where_their_act_is_refused() -> None:
    state = SocialState(draw("price", "test", 0))
    state.step({0: Action(ActionType.ACT, "accept", words="Fine with me.")})
    [turn] = state.turns
    assert (turn.action.type, turn.action.argument) == (ActionType.SPEAK, "Fine with me.")
    assert turn.action.invalid is not None
    assert "no offer stands" in turn.action.invalid


def test_a_spoken_yes_closes_nothing_and_is_noted() -> None:
    state = SocialState(draw("price", "test", 0))
    state.step({0: Action(ActionType.ACT, "offer price=9", words="Nine?")})
    state.step({1: Action(ActionType.SPEAK, "Deal!")})
    assert state.end is None
    assert state.turns[1].action.near_miss is not None
    assert state.turns[1].action.invalid is None
