"""A task small enough to reckon in the head, and a way to write its episodes down as lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from envs.actions import LineCodec
from envs.errors import ActionError
from envs.scenarios.task import Task
from envs.social import Rules, SocialState
from envs.types import Deal, Episode, Profile, Relationship, Scenario


@dataclass(frozen=True, slots=True)
class Coins(Task):
    """Seat 0 gets k of five coins: worth 2k - 2 to it, 10 - 2k to seat 1; "secret" is a secret.

    k        0   1   2   3   4   5
    seat 0  -2   0   2   4   6   8
    seat 1  10   8   6   4   2   0
    """

    def deals(self) -> tuple[Deal, ...]:
        return tuple((k,) for k in range(6))

    def utility(self, seat: int, deal: Deal) -> float:
        return float(2 * deal[0] - 2 if seat == 0 else 10 - 2 * deal[0])

    def terms(self, seat: int, deal: Deal) -> str:
        return str(deal[0])

    def parse_terms(self, seat: int, text: str) -> Deal:
        if text not in set("012345"):
            raise ActionError(f"got {text!r}, expected a number from 0 to 5.")
        return (int(text),)

    def appraise(self, seat: int, deal: Deal) -> tuple[int, ...]:
        return (int(self.utility(seat, deal)),)

    def leaks(self, seat: int, text: str) -> bool:
        return "secret" in text


@pytest.fixture(scope="session")
def coins() -> Task:
    return Coins(aims=(4.0, 4.0))


@pytest.fixture(scope="session")
def play(coins: Task) -> Callable[..., Episode]:
    """`play("say hello", "do offer 3", "do accept")`: turn about, seat 0 first, until it ends."""

    def play_lines(*lines: str, verifiable: bool = True) -> Episode:
        scenario = Scenario(
            id="coins-1",
            family="coins",
            split="test",
            context="Five coins lie on a table.",
            goals=("Get 4 points.", "Get 4 points."),
            briefs=("", ""),
            profiles=(Profile("Ann"), Profile("Ben")),
            relationship=Relationship.STRANGER,
            task=coins if verifiable else None,
        )
        state = SocialState(scenario, Rules(max_turns=len(lines)))
        for line in lines:
            if state.end is not None:
                break
            state.step({seat: LineCodec().decode(line) for seat in state.to_act})
        return state.episode()

    return play_lines
