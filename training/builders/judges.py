"""Builds the judge, the critics and the pairwise judge of a run from its options."""

from __future__ import annotations

from engines.models import Resources, built
from judges.base import JUDGES, Judge
from judges.critics.base import CRITICS, Critic
from judges.llm_pairwise import LlmPairwiseJudge
from judges.pairwise import PairwiseJudge
from training.config import RunConfig
from training.config.play import CriticConfig, JudgeConfig


def judge_of(config: JudgeConfig, resources: Resources) -> Judge:
    """The configured judge."""
    spec = JUDGES[config.name]
    judge: Judge = built(spec, config.options_for(spec), resources)
    return judge


def pairwise_judge_of(config: RunConfig, resources: Resources) -> PairwiseJudge | None:
    """The judge that compares continuations; None where the branches' values decide."""
    if config.pairing.preferences == "value":
        return None
    model = config.judge.model
    return LlmPairwiseJudge(
        resources.chat(model),
        samples=config.judge.samples,
        temperature=model.temperature,
        max_tokens=model.max_tokens,
    )


def critics_of(config: CriticConfig, resources: Resources) -> list[tuple[Critic, float]]:
    """Each critic that has a share of the branch points, with that share in (0, 1]."""
    total = sum(config.weights.values())
    return [
        (built(CRITICS[name], config.options_for(CRITICS[name]), resources), weight / total)
        for name, weight in config.weights.items()
        if weight > 0
    ]
