"""What is compared, and what the policy is held to, as options; and which of them go together.

A method is a critic, a pairing, an objective and a reference. Most combinations make sense; those
that do not are refused here, before anything is played.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from envs.errors import ConfigError
from training.config.objective import ObjectiveConfig
from training.config.options import Count, NonNegative, Positive, Range

WITHOUT_LENGTH = frozenset({"turn", "session", "step"})
"""Pairings that need no `max_segment_turns`: one turn, or all."""

WITH_SIDES = frozenset({"segment", "turn", "session", "preferred"})
WIN_RATES = frozenset({"win_rate", "win_rate_pair"})
WITH_TEACHER = frozenset({"expert", "imitation"})
MAKE_PAIRS = frozenset({"segment", "turn", "session", "step", "rejection", "expert"})

TAKE_ANY = frozenset({"bco", "inpo", "kto", "preferred_sft", "sppo"})
"""Objectives that read any branches; all others want them in pairs, chosen and rejected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingConfig:
    """How branch groups become training examples.

    Attributes:
        value: what makes a branch better than another.
        margin: branches that are closer in value are a tie, and left out; in points of the value.
            binary leaves out what is closer than half of it to the mean of its group.
        max_segment_turns: the longest segment that carries loss, in own turns; turn, session and
            step need none.
        contrasts: pairs that a branch group gives at most where no error was located, or
            continuations of an expert (expert, imitation); a located error gives one pair.
        preferences: what win rates are counted from: the branches' values, or "judge": the
            judge's model compares two continuations at a time.
        sides: which branches are held against which (segment, turn, session, preferred): the best
            against the "original", the middles of the "halves", the "extremes", or "located":
            the original where an error was located and halves elsewhere.
        rejected_segment_turns: how long the worse side's segment is, where it is not to be as long
            as the better one's; needs `allow_unequal`.
        allow_unequal: that segments are unequally long is meant: the partition function then does
            not cancel, and in the paper two of four such choices made the policy collapse
            (arXiv 2501.01821, table 4).
        verified_goal: the goal that a rectified turn must have led to (step).
        reward_temperature: of rejection sampling, in points of the value (rejection).
    """

    name: Literal[
        "binary",
        "expert",
        "imitation",
        "preferred",
        "rejection",
        "segment",
        "session",
        "step",
        "turn",
        "win_rate",
        "win_rate_pair",
    ]
    value: Literal["nash", "goal", "goal_relationship"]
    margin: NonNegative
    max_segment_turns: Count | None = None
    contrasts: Count = 1
    preferences: Literal["value", "judge"] = "value"
    sides: Literal["located", "original", "halves", "extremes"] = "located"
    rejected_segment_turns: Count | None = None
    allow_unequal: bool = False
    verified_goal: Annotated[float, Range(at_least=0, at_most=10)] | None = None
    reward_temperature: Positive | None = None

    @property
    def is_unequal(self) -> bool:
        """Whether the two sides of a pair may carry loss on unequally many turns by choice."""
        return self.rejected_segment_turns not in (None, self.max_segment_turns)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceConfig:
    """What the policy is held to.

    Attributes:
        schedule: the weights at the start of each "iteration"; the clone ("bc"); those that
            "collected" what is learned from, which differ where collect.refresh_every is not 1; or
            their moving average ("average").
        decay: how much of the average stays at each iteration (average).
    """

    schedule: Literal["iteration", "bc", "collected", "average"]
    decay: Annotated[float, Range(at_least=0, at_most=1)] | None = None


Source = Literal["policy", "experts", "keen_experts"]


def check_method(
    pairing: PairingConfig, objective: ObjectiveConfig, reference: ReferenceConfig, source: Source
) -> None:
    """Whether the parts of a method go together.

    Args:
        source: who continues at branch points.

    Raises:
        ConfigError: they do not; the message says what to change.
    """
    name = pairing.name
    if name not in WITHOUT_LENGTH:
        need("pairing.max_segment_turns", pairing.max_segment_turns, f"pairing.name={name}")
    if name == "step":
        need("pairing.verified_goal", pairing.verified_goal, "pairing.name=step")
    if name == "rejection":
        need("pairing.reward_temperature", pairing.reward_temperature, "pairing.name=rejection")
    if reference.schedule == "average":
        need("reference.decay", reference.decay, "reference.schedule=average")
    if pairing.sides != "located" and name not in WITH_SIDES:
        raise ConfigError(
            f"pairing.sides is {pairing.sides}, but pairing={name} has its own way to choose; "
            f"leave it out, or choose pairing={' or '.join(sorted(WITH_SIDES))}."
        )
    if not _is_read(objective.name, name):
        raise ConfigError(
            f"objective={objective.name} learns from pairs, but pairing={name} makes none; choose "
            f"pairing={' or '.join(sorted(MAKE_PAIRS))}."
        )
    _check_lengths(pairing)
    _check_teacher(pairing, source)


def _is_read(objective: str, pairing: str) -> bool:
    """Whether the objective can read what the pairing makes."""
    if (objective, pairing) == ("sppo_pair", "win_rate_pair"):
        return True
    return objective in TAKE_ANY or pairing in MAKE_PAIRS


def _check_lengths(pairing: PairingConfig) -> None:
    if pairing.rejected_segment_turns is None:
        return
    if pairing.name != "segment":
        raise ConfigError(
            f"pairing.rejected_segment_turns is set, but pairing={pairing.name} has no such "
            "segment; leave it out, or choose pairing=segment."
        )
    if pairing.is_unequal and not pairing.allow_unequal:
        raise ConfigError(
            f"pairing.max_segment_turns is {pairing.max_segment_turns} and "
            f"pairing.rejected_segment_turns {pairing.rejected_segment_turns}, but with segments "
            "of unequal length the partition function does not cancel and the policy may "
            "collapse; make them equal, or set pairing.allow_unequal=true for an ablation."
        )


def _check_teacher(pairing: PairingConfig, source: Source) -> None:
    taught = source != "policy"
    if pairing.name in WITH_TEACHER and not taught:
        raise ConfigError(
            f"pairing={pairing.name} learns from an expert's turns, but branch.source is policy; "
            "set branch.source=experts."
        )
    if taught and pairing.name in WITH_SIDES and pairing.sides != "original":
        raise ConfigError(
            f"branch.source is {source}, but pairing.sides={pairing.sides} would hold an expert's "
            "turns against an expert's; set pairing.sides=original."
        )


def cautions(pairing: PairingConfig) -> list[str]:
    """What a user should know before a run starts, in sentences."""
    if not pairing.is_unequal:
        return []
    return [
        f"Pairs have {pairing.max_segment_turns} own turns on the better and "
        f"{pairing.rejected_segment_turns} on the worse side: the partition function does not "
        "cancel, and the policy may collapse. That is for an ablation, not for training."
    ]


def need(path: str, value: object, user: str) -> None:
    """Refuse an option that is missing.

    Raises:
        ConfigError: the value is None.
    """
    if value is None:
        raise ConfigError(f"{path} is not set, but {user} needs it; add +{path}=VALUE.")
