"""Win rates and preference matrices by hand, their symmetries, and whom a judge is asked about."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import BudgetError, ConfigError, DataError
from envs.types import Episode
from judges.pairwise import (
    Comparison,
    Matrix,
    Preferences,
    ask_all_pairs,
    counts,
    preference_matrix,
    win_probs,
)

values_list = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8)


def test_win_probs_by_hand() -> None:
    # (1/2 + 1 + 3/4) / 3, (0 + 1/2 + 1/2) / 3, (1/4 + 1/2 + 1/2) / 3
    preferences = [[0.5, 1.0, 0.75], [0.0, 0.5, 0.5], [0.25, 0.5, 0.5]]
    assert win_probs(preferences) == pytest.approx((0.75, 1 / 3, 1.25 / 3))


def test_a_cycle_is_a_tie_of_all() -> None:
    rock_paper_scissors = [[0.5, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.5]]
    assert win_probs(rock_paper_scissors) == (0.5, 0.5, 0.5)


def test_one_branch_alone_neither_wins_nor_loses() -> None:
    assert win_probs(preference_matrix([7.0])) == (0.5,)


def test_hard_preferences_tie_inside_the_margin() -> None:
    assert preference_matrix([3.0, 2.0, 0.0], 1.0) == (
        (0.5, 0.5, 1.0),  # 1 apart is still inside
        (0.5, 0.5, 1.0),
        (0.0, 0.0, 0.5),
    )


def test_margin_ties_need_not_be_transitive() -> None:
    # 0 ~ 1 and 1 ~ 2, but 2 beats 0: means 1/3, 1/2, 2/3.
    assert win_probs(preference_matrix([0.0, 1.0, 2.0], 1.0)) == pytest.approx((1 / 3, 0.5, 2 / 3))


@given(values_list, st.floats(0, 10))
def test_every_game_has_one_winner(values: list[float], margin: float) -> None:
    preferences = preference_matrix(values, margin)
    probs = win_probs(preferences)
    size = len(values)
    assert sum(probs) == pytest.approx(size / 2)
    assert all(1 / (2 * size) - 1e-9 <= prob <= 1 - 1 / (2 * size) + 1e-9 for prob in probs)
    best = max(range(size), key=values.__getitem__)
    assert probs[best] == max(probs)


@pytest.mark.parametrize(
    "preferences",
    [
        [],
        [[0.5, 1.0]],
        [[0.5, 1.0], [0.0]],
        [[1.0, 1.0], [0.0, 0.5]],  # the diagonal
        [[0.5, 0.9], [0.3, 0.5]],  # sums to 1.2
        [[0.5, 1.5], [-0.5, 0.5]],
        [[0.5, math.nan], [math.nan, 0.5]],
        [[0.5, None], [0.5, 0.5]],  # known one way only
        [[None, 0.5], [0.5, 0.5]],  # a branch always ties with itself
    ],
)
def test_what_is_no_preference_is_refused(preferences: list[list[float | None]]) -> None:
    with pytest.raises(DataError, match="expected"):
        win_probs(preferences)


def test_values_must_be_comparable() -> None:
    with pytest.raises(DataError, match="value of branch 1 is nan"):
        preference_matrix([1.0, math.nan])


@pytest.mark.parametrize("margin", [-0.1, math.inf, math.nan])
def test_a_margin_out_of_range_is_refused(margin: float) -> None:
    with pytest.raises(ConfigError, match="margin is"):
        preference_matrix([1.0], margin)


def test_what_could_not_be_compared_counts_for_nobody() -> None:
    # (1/2 + 1) / 2, (0 + 1/2 + 1) / 3, (1/2 + 0) / 2
    preferences: Matrix = ((0.5, 1.0, None), (0.0, 0.5, 1.0), (None, 0.0, 0.5))
    assert win_probs(preferences) == (0.75, 0.5, 0.25)


@dataclass
class Scripted:
    """Knows what beats what by what is said last; what it does not know is unscored."""

    beats: Mapping[tuple[str, str], float]
    id: str = "scripted"
    version: str = "1"
    asked: list[tuple[str, str, int, int]] = field(default_factory=list)

    async def compare(self, first: Episode, second: Episode, seat: int, turn: int) -> Comparison:
        a, b = (episode.turns[-1].action.argument for episode in (first, second))
        self.asked.append((a, b, seat, turn))
        return Comparison(
            self.beats.get((a, b)), "", samples=1, flips=int(a == "rock"), models=(f"{a}-model",)
        )


def ask(judge: Scripted, branches: Sequence[Episode]) -> Preferences:
    return asyncio.run(ask_all_pairs(judge, branches, 1, 1))


ROCK_PAPER_SCISSORS = {
    ("rock", "paper"): 0.0,
    ("rock", "scissors"): 1.0,
    ("paper", "scissors"): 0.0,
}


@pytest.fixture
def hands(play: Callable[..., Episode]) -> list[Episode]:
    return [play("say go", f"say {hand}") for hand in ("rock", "paper", "scissors")]


def test_preferences_may_go_in_circles(hands: list[Episode]) -> None:
    judge = Scripted(ROCK_PAPER_SCISSORS)
    found = ask(judge, hands)
    assert found.matrix == ((0.5, 0.0, 1.0), (1.0, 0.5, 0.0), (0.0, 1.0, 0.5))
    assert win_probs(found.matrix) == (0.5, 0.5, 0.5)
    assert (found.judge_id, found.judge_version) == ("scripted", "1@paper-model+rock-model")
    assert (found.samples, found.flips) == (3, 2)
    assert judge.asked == [(a, b, 1, 1) for a, b in ROCK_PAPER_SCISSORS], "each pair once"


def test_what_is_the_same_is_not_asked(play: Callable[..., Episode], hands: list[Episode]) -> None:
    judge = Scripted(ROCK_PAPER_SCISSORS)
    found = ask(judge, [*hands[:2], play("say go", "say rock")])
    assert found.matrix[0][2] == found.matrix[2][0] == 0.5
    assert [(a, b) for a, b, *_ in judge.asked] == [("rock", "paper"), ("paper", "rock")]


def test_unscored_pairs_are_left_open(hands: list[Episode]) -> None:
    known = {key: p for key, p in ROCK_PAPER_SCISSORS.items() if key != ("rock", "scissors")}
    found = ask(Scripted(known), hands)
    assert found.matrix[0][2] is found.matrix[2][0] is None
    assert found.unscored_share == 1 / 3
    assert found.is_usable
    assert not ask(Scripted({("rock", "paper"): 1.0}), hands).is_usable, "nobody met scissors"
    assert ask(Scripted({}), hands).unscored_share == 1


def test_counts_add_up_over_groups() -> None:
    one = Preferences("j", "1", ((0.5, 1.0), (0.0, 0.5)), samples=2, flips=1)
    other = Preferences("j", "1", ((0.5, None, 1), (None, 0.5, 0), (0, 1, 0.5)), 4, 0)
    assert counts([one, other]) == {"pairs": 4, "unscored": 1, "samples": 6, "flips": 1}
    assert counts([]) == {"pairs": 0, "unscored": 0, "samples": 0, "flips": 0}


def test_an_empty_purse_ends_all_comparisons_at_once(hands: list[Episode]) -> None:
    class Broke(Scripted):
        async def compare(
            self, first: Episode, second: Episode, seat: int, turn: int
        ) -> Comparison:
            if self.asked:
                raise BudgetError("$0.00 are left.")
            return await super().compare(first, second, seat, turn)

    judge = Broke(ROCK_PAPER_SCISSORS)
    with pytest.raises(BudgetError, match="are left"):
        ask(judge, hands)
    assert len(judge.asked) == 1
