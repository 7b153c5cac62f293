"""From the options to whoever scores episodes, locates errors and compares continuations."""

from __future__ import annotations

from typing import Any, TypeVar

from judges.base import Judge
from judges.critics.base import Critic
from judges.critics.registry import CRITICS
from judges.hybrid import HybridJudge
from judges.llm_pairwise import LlmPairwiseJudge
from judges.pairwise import PairwiseJudge
from judges.panel import PanelJudge
from judges.rubric import RubricJudge
from judges.verifiable import VerifiableJudge
from training.config import RunConfig
from training.config.play import CriticConfig, JudgeConfig, ModelConfig
from training.play.remote import Remote

T = TypeVar("T")


def judge_of(config: JudgeConfig, remote: Remote | None, *, seed: int = 0) -> Judge:
    """The configured judge.

    Args:
        remote: there whenever the judge asks a model.
        seed: which of a model's possible judgements are wanted.
    """
    if config.name == "verifiable":
        return VerifiableJudge()
    if config.name == "panel":
        members = config.asked.values()
        return PanelJudge(tuple(_rubric(model, config, remote, seed) for model in members))
    rubric = _rubric(_there(config.model), config, remote, seed)
    return HybridJudge(rubric) if config.name == "hybrid" else rubric


def pairwise_judge_of(config: RunConfig, remote: Remote | None) -> PairwiseJudge | None:
    """Who compares continuations; None where win rates are counted from the branches' values."""
    if config.pairing.preferences == "value":
        return None
    model = _there(config.judge.model)
    return LlmPairwiseJudge(
        _there(remote).chat(model),
        samples=config.judge.samples,
        temperature=model.temperature,
        max_tokens=model.max_tokens,
    )


def critics_of(
    config: CriticConfig, remote: Remote | None, *, seed: int
) -> list[tuple[Critic, float]]:
    """Each critic that has a share of the branch points, with that share in (0, 1]."""
    options: dict[str, dict[str, Any]] = {
        "value": {"min_drop": config.min_drop},
        "first": {"min_drop": config.min_drop},
        "start": {},
        "random": {"seed": seed},
    }
    if config.weights.get("llm"):
        model = _there(config.model)
        options["llm"] = {
            "chat": _there(remote).chat(model),
            "temperature": model.temperature,
            "max_tokens": model.max_tokens,
        }
    total = sum(config.weights.values())
    return [
        (CRITICS[name](**options[name]), weight / total)
        for name, weight in config.weights.items()
        if weight > 0
    ]


def _rubric(
    model: ModelConfig, config: JudgeConfig, remote: Remote | None, seed: int
) -> RubricJudge:
    return RubricJudge(
        _there(remote).chat(model),
        samples=config.samples,
        temperature=model.temperature,
        max_tokens=model.max_tokens,
        seed=seed,
    )


def _there(part: T | None) -> T:
    assert part is not None  # the configuration was checked
    return part
