"""Shares as words: what an offer says is what is on the table, or it is refused."""

from __future__ import annotations

import pytest

from envs.errors import ActionError
from envs.scenarios.families.item_split import SplitTask

TASK = SplitTask((1.0, 1.0), ("book", "hat", "ball"), (1, 2, 3), ((1, 2, 3), (3, 2, 1)))


@pytest.mark.parametrize(
    ("seat", "text", "deal"),
    [
        (0, "me book=1 hat=0 ball=2", (1, 0, 2)),
        (0, "you book=1 hat=0 ball=2", (0, 2, 1)),  # of 1, 2 and 3 the rest is seat 0's
        (1, "you book=1 hat=0 ball=2", (1, 0, 2)),
        (1, " ME ball: 2, book = 1, hat: 0 ", (0, 2, 1)),
    ],
)
def test_an_offer_is_read_from_its_side(seat: int, text: str, deal: tuple[int, ...]) -> None:
    assert TASK.parse_terms(seat, text) == deal


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("me book=1 hat=0 ball=2 hat=1", "names hat more than once; name each item once, as in"),
        ("me book=1 book=1 hat=0 ball=2", "names book more than once"),
        ("me book=1 hat=0", "does not say who gets how many of each of book, hat, ball"),
        ("me book=1 hat=0 hat=1", "does not say who gets how many"),
        ("we book=1 hat=0 ball=2", "does not say who gets how many"),
        ("me book=2 hat=0 ball=2", "gives 2 book, but there are 1"),
    ],
)
def test_an_offer_that_says_two_things_or_none_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ActionError) as caught:
        TASK.parse_terms(0, text)
    assert sentence in str(caught.value)
