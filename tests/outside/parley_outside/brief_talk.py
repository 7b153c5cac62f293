"""A judge that likes deals, and long talks a little less."""

from __future__ import annotations

from dataclasses import dataclass, replace

from envs.options import NonNegative
from envs.types import Episode
from judges.base import Judgement, judge
from judges.verifiable import VerifiableJudge


@judge("brief_talk", sees_task=True)
@dataclass(frozen=True, slots=True)
class BriefTalkJudge:
    """The verifiable judge, less something for each turn.

    Attributes:
        cost_per_turn: points of goal that a turn of either side costs.
    """

    cost_per_turn: NonNegative = 0.1

    @property
    def id(self) -> str:
        return "brief_talk"

    @property
    def version(self) -> str:
        return "1"

    async def judge(self, episode: Episode) -> Judgement:
        """Score both seats."""
        plain = await VerifiableJudge().judge(episode)
        cost = self.cost_per_turn * len(episode.turns)
        scores = tuple(replace(each, goal=max(0.0, each.goal - cost)) for each in plain.scores)
        return replace(plain, judge_id=self.id, judge_version=self.version, scores=scores)
