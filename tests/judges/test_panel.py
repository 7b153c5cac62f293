"""A panel's mean, its disagreement, and what becomes of it when a member fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt

import pytest

from envs.errors import BudgetError, ConfigError
from envs.types import EndReason, Episode
from judges.base import Judge, Judgement, Scores, unscored
from judges.panel import PanelJudge

Play = Callable[..., Episode]


def goals(first: float, second: float) -> tuple[Scores, Scores]:
    return Scores(5, 0, 0, 0, 0, 0, first), Scores(5, 0, 0, 0, 0, 0, second)


@dataclass(frozen=True)
class Member:
    id: str
    scores: tuple[Scores, ...] | None = None
    version: str = "1"

    async def judge(self, episode: Episode) -> Judgement:
        if self.scores is None:
            return unscored(self, f"{self.id} is down.")
        return Judgement(self.id, f"{self.version}@{self.id}", self.scores, ("First.", "Second."))


A, B, C = Member("a", goals(2, 8)), Member("b", goals(4, 8)), Member("c", goals(9, 8))
DOWN, OUT = Member("down"), Member("out")


@pytest.fixture
def judged(play: Play) -> Callable[..., Judgement]:
    def judge(*members: Judge) -> Judgement:
        return asyncio.run(PanelJudge(members).judge(play("leave")))

    return judge


def test_the_mean_and_the_disagreement_by_hand(judged: Callable[..., Judgement]) -> None:
    judgement = judged(A, B, C)
    assert judgement.scores == goals(5, 8)
    assert judgement.reasons[0] == "a: First. | b: First. | c: First."
    # Goals 2, 4, 9: variance (9 + 1 + 16) / 2 = 13; seat 1: 0. Range 7, and 1 for the overall.
    assert judgement.details["spread.goal"] == pytest.approx(sqrt(13 / 2))
    assert judgement.details["range.goal"] == 7
    assert judgement.details["range.overall"] == pytest.approx(1)
    assert judgement.details["range.secret"] == judgement.details["spread.secret"] == 0
    # a and b see seat 1 ahead, c seat 0: two of three pairs.
    assert judgement.details["flip_rate"] == pytest.approx(2 / 3)
    assert (judgement.details["members"], judgement.details["members_unscored"]) == (3, 0)


def test_the_members_are_signed(judged: Callable[..., Judgement]) -> None:
    assert judged(A, B).judge_version == f"{PanelJudge((A, B)).version}(1@a+1@b)"


@pytest.mark.parametrize(
    ("members", "failed"), [((A, DOWN), 1), ((A, DOWN, B), 1), ((DOWN, A, OUT), 2)]
)
def test_who_silences_a_member_is_not_scored_by_the_others(
    judged: Callable[..., Judgement], members: tuple[Member, ...], failed: int
) -> None:
    judgement = judged(*members)
    assert not judgement.is_scored
    assert judgement.reasons[0].startswith(f"{failed} of {len(members)} members gave no scores")
    assert "down is down." in judgement.reasons[0]
    assert judgement.details == {"members": len(members), "members_unscored": failed}


def test_the_version_follows_every_member() -> None:
    panels = [(A, B), (B, A), (A, B, C), (A, replace(B, version="2"))]
    assert PanelJudge((A, B)).version == PanelJudge((A, B)).version
    assert len({PanelJudge(members).version for members in panels}) == 4
    assert PanelJudge((A, B)).id == "panel(a, b)"


def test_a_failed_episode_is_unscored_before_any_call(play: Play) -> None:
    class Untouched(Member):
        async def judge(self, episode: Episode) -> Judgement:
            raise AssertionError("it was asked")

    panel = PanelJudge((Untouched("x"), Untouched("y")))
    failed = asyncio.run(panel.judge(replace(play("leave"), end=EndReason.FAILED)))
    assert "Not played to its end" in failed.reasons[0]


def test_what_ends_a_run_passes_through(judged: Callable[..., Judgement]) -> None:
    class Broke(Member):
        async def judge(self, episode: Episode) -> Judgement:
            raise BudgetError("spent")

    with pytest.raises(BudgetError, match="spent"):
        judged(A, B, Broke("broke"))


def test_one_judge_is_no_panel() -> None:
    with pytest.raises(ConfigError, match="A panel of 1"):
        PanelJudge((A,))
