"""What a judge says of an episode: seven dimensions per seat, or why it could not say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from envs.errors import ParleyError, RemoteError
from envs.registry import Component, Registry
from envs.types import EndReason, Episode

DIMENSION_RANGES: dict[str, tuple[float, float]] = {
    "believability": (0, 10),
    "relationship": (-5, 5),
    "knowledge": (0, 10),
    "secret": (-10, 0),
    "social_rules": (-10, 0),
    "financial_and_material_benefits": (-5, 5),
    "goal": (0, 10),
}
"""SOTOPIA's seven dimensions and their ranges (arXiv 2310.11667, section 3)."""


MAY_PASS = "may_pass"
"""The detail of a judgement that is unscored because a server failed; to be tried again."""

SAME = 1e-9
"""Scores that are closer are the same: their sums were taken in different orders."""


@dataclass(frozen=True, slots=True)
class Scores:
    """One seat's scores; ranges as in `DIMENSION_RANGES`."""

    believability: float
    relationship: float
    knowledge: float
    secret: float
    social_rules: float
    financial_and_material_benefits: float
    goal: float

    @property
    def overall(self) -> float:
        """The unweighted mean of the seven, as SOTOPIA reports it."""
        return sum(float(getattr(self, name)) for name in DIMENSION_RANGES) / len(DIMENSION_RANGES)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judge's word on one episode.

    Attributes:
        scores: one entry a seat; empty when the episode is unscored.
        reasons: one sentence a seat, or why the episode is unscored.
        details: what else was measured, by name: how far samples or judges were apart, how often
            they flipped, how many calls it took. Empty where there is nothing to say.
    """

    judge_id: str
    judge_version: str
    scores: tuple[Scores, ...]
    reasons: tuple[str, ...]
    details: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def is_scored(self) -> bool:
        return bool(self.scores)

    @property
    def may_pass(self) -> bool:
        """Whether it is unscored because of a failure that may not come again, as an outage."""
        return not self.scores and MAY_PASS in self.details


class Judge(Protocol):
    """Anything that can score a finished episode."""

    @property
    def id(self) -> str: ...

    @property
    def version(self) -> str: ...

    async def judge(self, episode: Episode) -> Judgement:
        """Score both seats; what cannot be scored comes back unscored, with the reason."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSpec(Component):
    """A registered judge: a dataclass, or a function of (options, resources) that builds one.

    Attributes:
        sees_task: whether it computes scores from the task itself, and not from what was said.
    """

    sees_task: bool = False

    @property
    def asks_one_model(self) -> bool:
        """Whether there is one model to ask, which can compare continuations, too."""
        return "model" in self.option_names


JUDGES: Registry[JudgeSpec] = Registry("judge", group="judges", modules=["judges"])
"""All judges by name."""

M = TypeVar("M", bound=Callable[..., object])


def judge(name: str, *, sees_task: bool = False) -> Callable[[M], M]:
    """Register a judge by its name; see `JudgeSpec` for the rest."""
    return JUDGES.registers(JudgeSpec, name, sees_task=sees_task)


def unscored(judge: Judge, reason: str, details: Mapping[str, float] | None = None) -> Judgement:
    """The word of a judge that cannot say: never a number, always the reason."""
    return Judgement(judge.id, judge.version, (), (reason,), details or {})


def unanswered(judge: Judge, error: ParleyError, reason: str = "") -> Judgement:
    """No scores where a model gave no answer, or none that could be read.

    Args:
        reason: the error's own words, if empty.
    """
    may_pass = isinstance(error, RemoteError) and error.may_pass
    return unscored(judge, reason or str(error), {MAY_PASS: 1.0} if may_pass else None)


def why_unscorable(episode: Episode) -> str | None:
    """Why no judge may score the episode, None where one may; asked before anything is spent."""
    if episode.end is EndReason.FAILED:
        return "Not played to its end: somebody behind an API gave no answer."
    return None
