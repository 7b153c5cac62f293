"""Estimates: by hand, and no run may cost more than its worst case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.remote.estimate import (
    Dialogues,
    PlannedCalls,
    Workload,
    estimate,
    judge_calls,
    partner_calls,
)
from engines.remote.prices import LongPrompts, Price
from engines.remote.usage_totals import Account

GPT = Price(2.5, 10.0)
PARTNER = Account("partner", "gpt-4o")
JUDGE = Account("judge", "gpt-4o")


def test_a_dialogue_by_hand() -> None:
    dialogues = Dialogues(
        dialogues=10, calls=4, first_prompt_tokens=500, growth_tokens=60, reply_tokens=30
    )
    # prompts of 500, 560, 620 and 680 tokens: 2,360 a dialogue, and 4 * 30 of replies
    load = dialogues.workload(GPT)
    assert (load.calls, load.prompt_tokens, load.completion_tokens) == (40, 23_600, 1200)
    assert load.cost_nusd == 23_600 * 2500 + 1200 * 10_000
    assert load.cost_usd == pytest.approx(0.071)
    assert dialogues.workload(None).cost_nusd == 0


@given(calls=st.integers(0, 60), first=st.integers(0, 5000), growth=st.integers(0, 500))
def test_prompt_tokens_grow_with_the_square(calls: int, first: int, growth: int) -> None:
    load = Dialogues(3, calls, first, growth, reply_tokens=7).workload(GPT)
    assert load.prompt_tokens == 3 * (calls * first + growth * calls * (calls - 1) // 2)


def test_a_dialogue_that_grows_long_costs_more_from_there_on() -> None:
    price = Price(1.0, 1.0, long_prompts=LongPrompts(1000, Price(2.0, 2.0)))
    load = Dialogues(1, 3, first_prompt_tokens=800, growth_tokens=150, reply_tokens=0).workload(
        price
    )
    # 800 and 950 at 1,000 nano-dollars, 1,100 at 2,000
    assert load.cost_nusd == 1_750_000 + 2_200_000


def test_a_partner_by_hand() -> None:
    plan = partner_calls(
        PARTNER,
        GPT,
        episodes=100,
        turns=7,
        max_turns=20,
        first_prompt_tokens=400,
        tokens_per_turn=30,
        max_tokens=128,
        max_asks=2,
    )
    # of 7 turns 4 are its own; its first prompt holds one turn, and two more come with each call
    assert plan.expected == Dialogues(100, 4, 430, 60, 30)
    # each turn is asked for twice, the second time with the reply that could not be read
    assert plan.worst == Dialogues(200, 10, 656, 256, 128)


def test_a_judge_by_hand() -> None:
    plan = judge_calls(
        JUDGE,
        GPT,
        judgements=50,
        samples=3,
        max_attempts=2,
        rules_tokens=900,
        turns=8,
        max_turns=20,
        tokens_per_turn=30,
        max_tokens_per_turn=128,
        reply_tokens=300,
        max_tokens=800,
    )
    assert plan.expected == Dialogues(150, 1, 900 + 240, 0, 300)
    assert plan.worst == Dialogues(150, 2, 900 + 2560, 800, 800)


def plan(
    account: Account, price: Price | None, *, calls: int = 1, worst_calls: int = 2
) -> PlannedCalls:
    """Each call has 1,000 prompt tokens and a reply of 100: 3.5 thousandths of a dollar."""
    return PlannedCalls(
        account, price, Dialogues(1, calls, 1000, 0, 100), Dialogues(1, worst_calls, 1000, 0, 100)
    )


def test_plans_add_up_by_purpose_and_model() -> None:
    plans = [plan(PARTNER, GPT), plan(JUDGE, GPT, calls=3, worst_calls=9), plan(PARTNER, GPT)]
    sums = estimate(plans)
    assert [(line.account, line.expected.calls, line.worst.calls) for line in sums.lines] == [
        (PARTNER, 2, 4),
        (JUDGE, 3, 9),
    ]
    assert sums.expected == Workload(5, 5000, 500, 5 * 3_500_000)
    assert sums.worst == Workload(13, 13_000, 1300, 13 * 3_500_000)
    assert sums.describe() == (
        "about 5 calls, at most 13; about 5,500 tokens; about $0.0175, at most $0.0455"
    )


def test_an_unknown_price_is_said_and_not_taken_for_nothing() -> None:
    mine = Account("critic", "my-model")
    sums = estimate([plan(PARTNER, GPT), plan(mine, None), plan(mine, None)])
    assert sums.unpriced_models == ("my-model",)
    assert [line.is_price_known for line in sums.lines] == [True, False]
    assert sums.expected.cost_nusd == 3_500_000
    assert sums.describe().endswith("and what my-model will cost, which is unknown")


def test_a_free_model_is_known_to_cost_nothing() -> None:
    sums = estimate([plan(Account("partner", "local"), Price(0.0, 0.0))])
    assert sums.unpriced_models == ()
    assert sums.describe().endswith("about $0.00, at most $0.00")


def test_nothing_planned_is_nothing() -> None:
    assert estimate([]).describe() == "no remote calls"
    assert estimate([]).worst == Workload()


@given(
    episodes=st.integers(0, 50),
    lengths=st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted),
    tokens=st.tuples(st.integers(0, 200), st.integers(0, 200)).map(sorted),
    rules=st.integers(0, 3000),
    samples=st.integers(1, 5),
    attempts=st.integers(1, 3),
)
def test_the_worst_case_is_never_less_than_what_is_expected(
    episodes: int,
    lengths: list[int],
    tokens: list[int],
    rules: int,
    samples: int,
    attempts: int,
) -> None:
    turns, max_turns = lengths
    tokens_per_turn, max_tokens = tokens
    partner = partner_calls(
        PARTNER,
        GPT,
        episodes=episodes,
        turns=turns,
        max_turns=max_turns,
        first_prompt_tokens=rules,
        tokens_per_turn=tokens_per_turn,
        max_tokens=max_tokens,
        max_asks=attempts,
    )
    judge = judge_calls(
        JUDGE,
        GPT,
        judgements=episodes,
        samples=samples,
        max_attempts=attempts,
        rules_tokens=rules,
        turns=turns,
        max_turns=max_turns,
        tokens_per_turn=tokens_per_turn,
        max_tokens_per_turn=max_tokens,
        reply_tokens=tokens_per_turn,
        max_tokens=max_tokens,
    )
    for line in estimate([partner, judge]).lines:
        assert line.expected.calls <= line.worst.calls
        assert line.expected.prompt_tokens <= line.worst.prompt_tokens
        assert line.expected.completion_tokens <= line.worst.completion_tokens
        assert line.expected.cost_nusd <= line.worst.cost_nusd
