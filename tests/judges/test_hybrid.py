"""Facts are computed and cannot be talked away; without an opinion there is no score."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from envs.errors import BudgetError
from envs.types import EndReason, Episode
from judges.base import Judge, Judgement, Scores, unscored
from judges.hybrid import HybridJudge
from judges.verifiable import VerifiableJudge

Play = Callable[..., Episode]

OPINION = Scores(7, 2, 3, 0, -1, 5, 10)


@dataclass(frozen=True)
class Opinionated:
    """Says the same of everybody, or cannot say."""

    scores: Scores | None = OPINION
    id: str = "opinion"
    version: str = "7"

    async def judge(self, episode: Episode) -> Judgement:
        if self.scores is None:
            return unscored(self, "The server is down.")
        return Judgement(
            self.id, "7@snapshot", (self.scores,) * 2, ("Nice.", "Good."), {"spread.goal": 2.0}
        )


@dataclass(frozen=True)
class Broke:
    id: str = "broke"
    version: str = "1"

    async def judge(self, episode: Episode) -> Judgement:
        raise BudgetError("spent")


def judged(judge: Judge, episode: Episode) -> Judgement:
    return asyncio.run(judge.judge(episode))


def test_a_program_decides_goal_and_benefits_and_the_model_the_rest(play: Play) -> None:
    episode = play("do offer 2", "do accept")
    facts = judged(VerifiableJudge(), episode)
    judgement = judged(HybridJudge(Opinionated()), episode)
    # Seat 0 got 2 of 4 points and could have had 8; what the model believes of it does not count.
    assert judgement.scores[0] == replace(
        OPINION, goal=5, financial_and_material_benefits=5 * 2 / 8
    )
    assert judgement.scores[1].goal == 10
    assert judgement.reasons == (f"{facts.reasons[0]} Nice.", f"{facts.reasons[1]} Good.")
    assert judgement.details == {"model.spread.goal": 2.0}


def test_a_computed_leak_counts_and_one_that_no_program_sees_too(play: Play) -> None:
    leaked = play("say my secret", "do offer 2", "do accept")
    first, second = judged(HybridJudge(Opinionated()), leaked).scores
    assert (first.secret, second.secret) == (-10, 0)
    suspicious = Opinionated(replace(OPINION, secret=-4))
    first, second = judged(HybridJudge(suspicious), leaked).scores
    assert (first.secret, second.secret) == (-10, -4)


def test_without_a_task_the_model_decides_all(play: Play) -> None:
    judgement = judged(HybridJudge(Opinionated()), play("say hello", verifiable=False))
    assert judgement.scores == (OPINION, OPINION)
    assert judgement.details == {"spread.goal": 2.0}
    assert judgement.judge_id == "hybrid(verifiable, opinion)"


def test_without_the_model_the_episode_is_unscored_although_its_goal_is_known(play: Play) -> None:
    judgement = judged(HybridJudge(Opinionated(None)), play("do offer 2", "do accept"))
    assert not judgement.is_scored
    assert judgement.reasons == ("The server is down.",)
    assert judgement.judge_id == "hybrid(verifiable, opinion)"


def test_both_are_signed(play: Play) -> None:
    judge = HybridJudge(Opinionated())
    assert judge.version == f"{VerifiableJudge().version}+7"
    version = judged(judge, play("leave")).judge_version
    assert version == f"{VerifiableJudge().version}+7@snapshot"


def test_a_failed_episode_is_unscored_before_any_call(play: Play) -> None:
    failed = replace(play("leave"), end=EndReason.FAILED)
    for judge in (HybridJudge(Broke()), VerifiableJudge()):
        assert "Not played to its end" in judged(judge, failed).reasons[0]


def test_what_ends_a_run_passes_through(play: Play) -> None:
    with pytest.raises(BudgetError, match="spent"):
        judged(HybridJudge(Broke()), play("leave"))
