"""What is compared, what is minimised and what the policy is held to; and what goes together.

A method is a critic, a pairing, an objective and a reference. Most combinations make sense; those
that do not are refused here, before anything is played.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from envs.errors import ConfigError
from envs.options import Chosen, NonNegative, OneOf, Range
from envs.registry import Registry
from training.methods.objectives.base import OBJECTIVES, ObjectiveSpec
from training.methods.pairings.base import PAIRINGS, PairingSpec
from training.methods.values import VALUES

ObjectiveName = Annotated[str, OneOf(lambda: OBJECTIVES)]
PairingName = Annotated[str, OneOf(lambda: PAIRINGS)]
ValueName = Annotated[str, OneOf(lambda: VALUES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveConfig(Chosen):
    """What is minimised: an objective with its own options; docs/methods.md has the formulas."""

    name: ObjectiveName
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def registry(cls) -> Registry[ObjectiveSpec]:
        return OBJECTIVES

    @property
    def spec(self) -> ObjectiveSpec:
        """The chosen objective."""
        return OBJECTIVES[self.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingConfig(Chosen):
    """How branch groups become training examples: a pairing with its own options.

    Attributes:
        value: what makes a branch better than another.
        margin: branches that are closer in value are a tie, in points of the value.
        preferences: what win rates are counted from: the branches' values, or "judge": the
            judge's model compares two continuations at a time.
    """

    name: PairingName
    value: ValueName
    margin: NonNegative
    preferences: Literal["value", "judge"] = "value"
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def registry(cls) -> Registry[PairingSpec]:
        return PAIRINGS

    @property
    def spec(self) -> PairingSpec:
        """The chosen pairing."""
        return PAIRINGS[self.name]

    @property
    def arguments(self) -> dict[str, Any]:
        """What the pairing is called with beside a group and its values."""
        options = self.options_for(self.spec)
        return {name: getattr(options, name) for name in self.spec.option_names}

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
    if reference.schedule == "average":
        need("reference.decay", reference.decay, "reference.schedule=average")
    if not objective.spec.can_read(pairing.spec.gives):
        readable = [name for name, spec in PAIRINGS.items() if objective.spec.can_read(spec.gives)]
        raise ConfigError(
            f"objective={objective.name} learns from {objective.spec.reads.replace('_', ' ')}, but "
            f"pairing={pairing.name} makes none; choose pairing={' or '.join(readable)}."
        )
    if pairing.is_unequal and not pairing.allow_unequal:
        raise ConfigError(
            f"pairing.max_segment_turns is {pairing.max_segment_turns} and "
            f"pairing.rejected_segment_turns {pairing.rejected_segment_turns}, but with segments "
            "of unequal length the partition function does not cancel and the policy may "
            "collapse; make them equal, or set pairing.allow_unequal=true for an ablation."
        )
    _check_teacher(pairing, source)


def _check_teacher(pairing: PairingConfig, source: Source) -> None:
    taught = source != "policy"
    if pairing.spec.from_teacher and not taught:
        raise ConfigError(
            f"pairing={pairing.name} learns from an expert's turns, but branch.source is policy; "
            "set branch.source=experts."
        )
    if taught and pairing.sides not in (None, "original"):
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
