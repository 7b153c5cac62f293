"""Critics on an episode whose values are written down, and the length of segments."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.models import Resources, built
from envs.errors import ConfigError
from envs.registry import NoOptions
from envs.types import Episode
from judges.critics.base import (
    CRITICS,
    Critic,
    DropKind,
    Dropped,
    Located,
    Selected,
    ValueProbe,
    own_turns,
    segment_length,
)
from judges.critics.measured import FirstErrorCritic, ValueCritic
from judges.critics.unmeasured import RandomCritic, StartCritic
from tests.chats import FakeChat

Play = Callable[..., Episode]


@pytest.fixture
def episode(play: Play) -> Episode:
    """Six turns; seat 0's own are 0, 2 and 4."""
    return play("say a", "say b", "say c", "say d", "say e", "say f")


def probe(values: dict[int, float]) -> ValueProbe:
    """A probe that knows just these places: to be asked elsewhere is a KeyError."""

    async def value(turn: int) -> float:
        return values[turn]

    return value


def locate(critic: Critic, episode: Episode, seat: int, values: ValueProbe) -> Located | Dropped:
    return asyncio.run(critic.locate(episode, seat, values))


def test_own_turns_are_transcript_indices(episode: Episode) -> None:
    assert own_turns(episode, 0) == (0, 2, 4)
    assert own_turns(episode, 1) == (1, 3, 5)
    assert own_turns(episode, 0, since=2) == (2, 4)
    assert own_turns(episode, 0, since=5) == ()


def test_the_value_critic_names_the_turn_with_the_largest_drop(episode: Episode) -> None:
    # Drops of seat 0: 6 - 5, 5 - 1, 1 - 2.
    found = locate(ValueCritic(min_drop=1.0), episode, 0, probe({0: 6, 2: 5, 4: 1, 6: 2}))
    assert found == Located(
        turn=2,
        reason="The expected value to seat 0 fell from 5.00 before turn 2 to 1.00 after it.",
        drop=4,
    )


def test_the_last_own_turn_is_measured_against_the_realised_goal(episode: Episode) -> None:
    found = locate(ValueCritic(min_drop=1.0), episode, 1, probe({1: 6, 3: 6, 5: 6, 6: 0}))
    assert isinstance(found, Located)
    assert (found.turn, found.drop) == (5, 6)


def test_equal_drops_go_to_the_earliest_turn(episode: Episode) -> None:
    found = locate(ValueCritic(min_drop=1.0), episode, 0, probe({0: 7, 2: 7, 4: 4, 6: 1}))
    assert isinstance(found, Located)
    assert found.turn == 2


def test_a_drop_at_the_threshold_counts_and_one_below_it_is_dropped(episode: Episode) -> None:
    values = probe({0: 5, 2: 4, 4: 4, 6: 4})
    assert isinstance(locate(ValueCritic(min_drop=1.0), episode, 0, values), Located)
    dropped = locate(ValueCritic(min_drop=1.5), episode, 0, values)
    assert dropped == Dropped(
        DropKind.NOISE,
        "The largest drop of seat 0's value is 1.00, at turn 0; less than 1.50 is taken for noise.",
    )


def test_the_first_error_is_named_and_not_the_worst(episode: Episode) -> None:
    values = probe({0: 8, 2: 7.5, 4: 6, 6: 2})  # turn 0 costs 0.5, turn 2 costs 1.5, turn 4 costs 4
    found = locate(FirstErrorCritic(min_drop=1.0), episode, 0, values)
    assert isinstance(found, Located)
    assert (found.turn, found.drop) == (2, 1.5)
    assert locate(ValueCritic(min_drop=1.0), episode, 0, values).turn == 4  # type: ignore[union-attr]
    dropped = locate(FirstErrorCritic(min_drop=4.5), episode, 0, values)
    assert dropped == Dropped(DropKind.NOISE, "No turn cost seat 0 a value of 4.50 or more.")


@pytest.mark.parametrize("seat", [0, 1])
def test_the_start_is_the_first_own_turn_and_no_value_is_asked(episode: Episode, seat: int) -> None:
    found = locate(StartCritic(), episode, seat, probe({}))
    assert isinstance(found, Located)
    assert (found.turn, found.drop) == (seat, 0.0)


def test_an_episode_that_only_gets_better_holds_no_error(episode: Episode) -> None:
    values = probe({0: 1, 2: 2, 4: 3, 6: 4})
    assert isinstance(locate(ValueCritic(min_drop=0.1), episode, 0, values), Dropped)


def test_all_places_are_probed_at_once(episode: Episode) -> None:
    async def run() -> Located | Dropped:
        all_waiting = asyncio.Event()
        asked: list[int] = []

        async def value(turn: int) -> float:
            asked.append(turn)
            if len(asked) == 4:
                all_waiting.set()
            await all_waiting.wait()
            return float(-turn)

        return await asyncio.wait_for(ValueCritic(0.5).locate(episode, 0, value), timeout=5)

    assert isinstance(asyncio.run(run()), Located)


WITHOUT_MODEL = [ValueCritic(1.0), FirstErrorCritic(1.0), StartCritic(), RandomCritic(seed=0)]


@pytest.mark.parametrize("critic", WITHOUT_MODEL)
def test_a_seat_that_never_acted_has_no_place(play: Play, critic: Critic) -> None:
    dropped = locate(critic, play("leave"), 1, probe({}))
    assert dropped == Dropped(DropKind.NO_TURN, "Seat 1 took no turn of its own.")


@pytest.mark.parametrize("critic", WITHOUT_MODEL)
def test_without_a_language_model_the_longest_segment_is_taken(
    episode: Episode, critic: Critic
) -> None:
    assert asyncio.run(critic.select(episode, episode, 0, 2)) is None


def select(worse: Episode, better: Episode, turn: int, values: dict[int, float]) -> Selected:
    made = ValueCritic(1.0).select(worse, better, 0, turn, probe(values))
    found = asyncio.run(made)
    assert isinstance(found, Selected)
    return found


def test_the_value_critic_selects_up_to_the_turn_that_gained_most(play: Play) -> None:
    better = play("say a", "say b", "say c", "say d", "say e", "say f")
    # Own turns 0, 2, 4: they gain 1, 3 and 2.
    found = select(better, better, 0, {0: 1, 2: 2, 4: 5, 6: 7})
    assert found.own_turns == 2
    assert "turn 2 raised the expected value to seat 0 most, from 2.00 to 5.00" in found.reason
    assert select(better, better, 0, {0: 1, 2: 4, 4: 7, 6: 7}).own_turns == 1, "ties: the earliest"
    # The worse branch has one own turn from turn 2 on, so that the segment has no more.
    assert select(play("say a", "say b", "leave"), better, 2, {2: 2, 4: 3}).own_turns == 1


def test_the_random_critic_asks_no_values_and_says_that_it_drew(episode: Episode) -> None:
    found = locate(RandomCritic(seed=3), episode, 1, probe({}))
    assert isinstance(found, Located)
    assert found.drop == 0
    assert found.reason == f"Turn {found.turn} was drawn at random from the 3 turns of seat 1."
    assert found == locate(RandomCritic(seed=3), episode, 1, probe({}))


@pytest.mark.parametrize("seat", [0, 1])
def test_the_random_critic_draws_every_own_turn_equally_often(play: Play, seat: int) -> None:
    counts: Counter[int] = Counter()
    for n in range(900):
        episode = play(f"say a{n}", "say b", "say c", "say d", "say e", "say f")
        found = locate(RandomCritic(seed=0), episode, seat, probe({}))
        assert isinstance(found, Located)
        counts[found.turn] += 1
    assert set(counts) == {seat, seat + 2, seat + 4}
    # 300 each with a standard deviation of 14; the draw is seeded, so this cannot flicker.
    assert all(250 < count < 350 for count in counts.values())


def test_the_seed_matters(episode: Episode) -> None:
    drawn = {
        found.turn
        for seed in range(30)
        if isinstance(found := locate(RandomCritic(seed), episode, 0, probe({})), Located)
    }
    assert drawn == {0, 2, 4}


def test_the_registry_names_critics_by_their_id() -> None:
    assert set(CRITICS) == {"value", "first", "start", "random", "llm"}
    for name in ("value", "first"):
        assert CRITICS[name].make(min_drop=1.0).id == name
    assert CRITICS["start"].make().id == "start"
    resources = Resources(seed=1, chat=lambda model: FakeChat([]))
    assert built(CRITICS["random"], NoOptions(), resources).id == "random"


@pytest.mark.parametrize("min_drop", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("critic", [ValueCritic, FirstErrorCritic])
def test_a_threshold_that_lets_everything_or_nothing_through_is_refused(
    min_drop: float, critic: Callable[[float], Critic]
) -> None:
    with pytest.raises(ConfigError, match="min_drop is"):
        critic(min_drop)


@pytest.mark.parametrize(
    ("chosen", "rejected", "most", "length"), [(5, 4, 3, 3), (2, 4, 3, 2), (5, 1, 3, 1)]
)
def test_segments_are_as_long_as_the_shortest_side_allows(
    chosen: int, rejected: int, most: int, length: int
) -> None:
    assert segment_length(chosen, rejected, most) == length


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30))
def test_both_sides_have_the_turns_that_are_kept(chosen: int, rejected: int, most: int) -> None:
    kept = segment_length(chosen, rejected, most)
    assert 1 <= kept <= min(chosen, rejected, most)
    assert kept == segment_length(rejected, chosen, most)


@pytest.mark.parametrize("lengths", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, -2, 3)])
def test_segments_without_a_turn_are_refused(lengths: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match="must be at least 1"):
        segment_length(*lengths)
