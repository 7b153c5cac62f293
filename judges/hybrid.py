"""A program decides what it can, a language model the rest."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from engines.models import Resources
from envs.types import Episode
from judges.base import Judge, Judgement, Scores, judge, unscored, why_unscorable
from judges.rubric import RubricOptions, rubric
from judges.verifiable import VerifiableJudge

DECIDED: Final = ("goal", "financial_and_material_benefits")
"""What is computed wherever the scenario has a task."""


@dataclass(frozen=True, slots=True)
class HybridJudge:
    """The verifiable judge for goal, benefits and leaks of a task; `model` for all else.

    Of the secret a program sees what the goal asks to hide, not what the character hides besides:
    the lower score counts, so that a leak that was computed cannot be talked away.

    Where the model fails, the episode is unscored, although its goal is known: an overall score
    over fewer dimensions is another quantity, and episodes on which a model fails are no random
    ones. Who wants goals alone takes the verifiable judge, which needs no model.

    How steady the model was is kept as its own, "model.spread.goal" and so on: where a program
    decided, these are no spreads of the score.

    Attributes:
        model: scores all seven dimensions; where there is no task, its word stands.
    """

    model: Judge
    program: Judge = field(default_factory=VerifiableJudge)

    @property
    def id(self) -> str:
        return f"hybrid({self.program.id}, {self.model.id})"

    @property
    def version(self) -> str:
        return f"{self.program.version}+{self.model.version}"

    async def judge(self, episode: Episode) -> Judgement:
        """Score all seven dimensions, or none."""
        if (reason := why_unscorable(episode)) is not None:
            return unscored(self, reason)
        opinion = await self.model.judge(episode)
        signed = replace(
            opinion,
            judge_id=self.id,
            judge_version=f"{self.program.version}+{opinion.judge_version}",
        )
        if episode.scenario.task is None or not opinion.is_scored:
            return signed
        facts = await self.program.judge(episode)
        if not facts.is_scored:
            return unscored(self, "; ".join(facts.reasons))
        return replace(
            signed,
            scores=tuple(map(_combined, facts.scores, opinion.scores)),
            reasons=tuple(map(" ".join, zip(facts.reasons, opinion.reasons, strict=True))),
            details={f"model.{name}": value for name, value in opinion.details.items()},
        )


def _combined(fact: Scores, opinion: Scores) -> Scores:
    decided = {name: getattr(fact, name) for name in DECIDED}
    return replace(opinion, secret=min(fact.secret, opinion.secret), **decided)


@judge("hybrid")
def hybrid(options: RubricOptions, resources: Resources) -> HybridJudge:
    """A program computes what it can, and a model is asked for the rest."""
    return HybridJudge(rubric(options, resources))
