"""Several judges of one episode: their mean, and how far they disagree."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from engines.gather import together
from engines.models import ModelConfig, Resources
from envs.errors import ConfigError
from envs.options import Count
from envs.types import Episode
from judges.base import (
    DIMENSION_RANGES,
    MAY_PASS,
    Judge,
    Judgement,
    judge,
    unscored,
    why_unscorable,
)
from judges.rubric import rubric_of
from judges.samples import Seats, flip_rate, mean_scores, spreads


@dataclass(frozen=True, slots=True)
class PanelJudge:
    """The mean over all members; where one of them gives no scores, the episode is unscored.

    The others' mean would be another quantity, and a dialogue that leaves its sternest judge
    without an answer would be the better for it. `details["members_unscored"]` counts who failed.

    The version of a judgement names in brackets those of the members. Disagreement is kept by
    dimension: "spread.goal" and its like are standard deviations between members, "range.goal" the
    largest distance between two of them.

    Attributes:
        members: two or more judges, whose opinions weigh the same.
    """

    members: tuple[Judge, ...]

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise ConfigError(
                f"A panel of {len(self.members)} was asked for, expected two judges or more; "
                "use judge=rubric for one."
            )

    @property
    def id(self) -> str:
        return f"panel({', '.join(member.id for member in self.members)})"

    @property
    def version(self) -> str:
        """A hash over all members, in their order."""
        signed = repr([(member.id, member.version) for member in self.members])
        return hashlib.sha256(signed.encode()).hexdigest()[:12]

    async def judge(self, episode: Episode) -> Judgement:
        """Ask all members side by side."""
        if (reason := why_unscorable(episode)) is not None:
            return unscored(self, reason)
        said = await together(member.judge(episode) for member in self.members)
        failed = [judgement for judgement in said if not judgement.is_scored]
        counts = {"members": float(len(said)), "members_unscored": float(len(failed))}
        if failed:
            reasons = "; ".join(f"{each.judge_id}: {'; '.join(each.reasons)}" for each in failed)
            reason = f"{len(failed)} of {len(said)} members gave no scores: {reasons}"
            passing = {MAY_PASS: 1.0} if any(each.may_pass for each in failed) else {}
            return unscored(self, reason, counts | passing)
        samples = [judgement.scores for judgement in said]
        flips = flip_rate(samples)
        signed = "+".join(judgement.judge_version for judgement in said)
        return Judgement(
            judge_id=self.id,
            judge_version=f"{self.version}({signed})",
            scores=mean_scores(samples),
            reasons=tuple(
                " | ".join(f"{each.judge_id}: {each.reasons[seat]}" for each in said)
                for seat in range(len(samples[0]))
            ),
            details=counts
            | ({} if flips is None else {"flip_rate": flips})
            | {f"spread.{name}": spread for name, spread in spreads(samples).items()}
            | _ranges(samples),
        )


def _ranges(samples: Sequence[Seats]) -> dict[str, float]:
    """By dimension the largest distance between two members, over all seats."""
    seats = list(zip(*samples, strict=True))
    return {
        f"range.{name}": max(
            max(getattr(each, name) for each in seat) - min(getattr(each, name) for each in seat)
            for seat in seats
        )
        for name in (*DIMENSION_RANGES, "overall")
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelOptions:
    """The panel of several models.

    Attributes:
        panel: the judges by any names.
        samples: judgements that each model gives of one episode, the agents' labels swapped in
            turn.
    """

    panel: dict[str, ModelConfig]
    samples: Count = 2


@judge("panel")
def panel(options: PanelOptions, resources: Resources) -> PanelJudge:
    """The mean of several rubric judges."""
    members = (rubric_of(model, options.samples, resources) for model in options.panel.values())
    return PanelJudge(tuple(members))
