"""What a run can be told: typed options, and how plain mappings become them.

To add an option, add a field with its type and range here and its value to a file under conf/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from envs.errors import ConfigError
from training.options import Range, Weighted, build

Count = Annotated[int, Range(at_least=1)]
Amount = Annotated[int, Range(at_least=0)]
Share = Annotated[float, Range(at_least=0, at_most=1)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(at_least=0)]
Weights = dict[str, NonNegative]
"""Names and how often each is drawn; the weights need not add up to 1."""

FAMILIES = ("division", "plans", "camp", "price", "match")
PARTNERS = ("self", "frozen_bc", "experts")
CRITICS = ("value", "random")
# Written out, because the registries themselves import torch; a test compares them.


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvConfig:
    """Which scenarios are played.

    Attributes:
        families: scenario family -> weight.
        max_turns: an episode is cut after that many turns of both seats together.
        codec: how an action is written as text.
    """

    families: Annotated[Weights, Weighted(FAMILIES)]
    max_turns: Annotated[int, Range(at_least=2)]
    codec: Literal["line", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """The model that learns.

    Attributes:
        name: "embedded" (the small model that is shipped), "scratch" (the same, from nothing), or
            a folder with a Hugging Face model.
        max_new_tokens: a turn is cut after that many tokens.
    """

    name: str
    temperature: Positive
    max_new_tokens: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class CloningConfig:
    """Behaviour cloning on dialogues of scripted experts, before the first iteration.

    Attributes:
        dialogues: how many are played; each is seen from both seats; 0 skips the stage.
        drills: offers to reckon, in place of that many further dialogues.
        lr: peak step size.
        batch_rows: dialogues seen from one seat in one step.
    """

    dialogues: Amount
    drills: Amount
    epochs: Count
    lr: Positive
    batch_rows: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerConfig:
    """Whom the policy plays against in training: partner -> weight."""

    weights: Annotated[Weights, Weighted(PARTNERS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeConfig:
    """Who scores the episodes."""

    name: Literal["verifiable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticConfig:
    """Who chooses the turns to branch at.

    Attributes:
        weights: critic -> its share of the branch points.
        min_drop: the value critic takes a smaller fall for noise; points of goal.
        poor_goal: the value critic looks only at episodes with a goal below this (SDPO, arXiv
            2501.01821, section 3.1: 7).
    """

    weights: Annotated[Weights, Weighted(CRITICS)]
    min_drop: Positive | None = None
    poor_goal: Annotated[float, Range(above=0, at_most=10)] | None = None

    @property
    def located_share(self) -> float:
        """The share of branch points that the value critic locates, in [0, 1]."""
        return self.weights.get("value", 0.0) / sum(self.weights.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectConfig:
    """Self-play: how many episodes an iteration."""

    episodes: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchConfig:
    """Branching.

    Attributes:
        points: branch points an iteration.
        continuations: K, sampled from each branch point beside the original.
        probes: continuations that estimate one value for the value critic.
    """

    points: Count
    continuations: Count
    probes: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingConfig:
    """How branch groups become training examples.

    Attributes:
        value: what makes a branch better than another.
        margin: pairs that are closer in value are dropped; in the value's own unit.
        max_segment_turns: the longest segment that carries loss, in own turns.
    """

    name: Literal["segment", "turn", "win_rate"]
    value: Literal["nash", "goal", "goal_relationship"]
    margin: NonNegative
    max_segment_turns: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveConfig:
    """What is minimised.

    Attributes:
        beta: how strongly the policy is held to the reference, per nat (sdpo, dpo).
        eta: the target log-ratio is eta * (win_prob - 1/2), nats (sppo).
        nll_weight: weight of the likelihood of the better branch, added to the objective.
    """

    name: Literal["sdpo", "dpo", "sppo"]
    nll_weight: NonNegative
    beta: Positive | None = None
    eta: Positive | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateConfig:
    """The optimiser's steps in one iteration.

    Attributes:
        batch_examples: examples a step.
        token_budget: columns a forward pass may have; bounds memory, changes no gradient.
        min_rejected_log_ratio: the update stops when a batch's mean log-ratio of the worse branches
            falls below this, nats; None never stops.
    """

    lr: Positive
    epochs: Count
    batch_examples: Count
    token_budget: Count
    max_grad_norm: Positive
    min_rejected_log_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceConfig:
    """What the policy is held to: the weights at the start of each iteration, or the clone."""

    schedule: Literal["iteration", "bc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """Evaluation on held-out scenarios.

    Attributes:
        every: evaluate after each so many iterations, and after the last.
    """

    split: Literal["dev", "test"]
    scenarios: Count
    every: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggerConfig:
    """Where metrics go beside metrics.jsonl, which every run writes.

    Attributes:
        mode, project: of Weights & Biases; None for jsonl.
    """

    name: Literal["jsonl", "wandb"]
    project: str | None = None
    mode: Literal["offline", "online"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One training run.

    Attributes:
        seed: the source of all randomness of the run.
        iterations: rounds of collect, branch, pair, update, evaluate.
        output_root: the folder in which the run makes a folder of its own.
        resume: a run's folder to go on with, None for a new run.
        threads: CPU threads for torch, None for as many as torch likes.
    """

    seed: Amount
    iterations: Amount
    output_root: str
    env: EnvConfig
    policy: PolicyConfig
    cloning: CloningConfig
    partner: PartnerConfig
    judge: JudgeConfig
    critic: CriticConfig
    collect: CollectConfig
    branch: BranchConfig
    pairing: PairingConfig
    objective: ObjectiveConfig
    update: UpdateConfig
    reference: ReferenceConfig
    evaluation: EvaluationConfig
    logger: LoggerConfig
    resume: str | None = None
    threads: Count | None = None


def from_mapping(options: Mapping[str, Any]) -> RunConfig:
    """Turn nested plain options into a checked configuration.

    Raises:
        ConfigError: an option is missing, unknown, of the wrong type, out of range or at odds with
            another; the message says which and what to do.
    """
    config = build(RunConfig, options)
    if config.critic.located_share > 0:
        _need("critic.min_drop", config.critic.min_drop, "a critic that locates errors")
        _need("critic.poor_goal", config.critic.poor_goal, "a critic that locates errors")
    strength = "eta" if config.objective.name == "sppo" else "beta"
    name = f"objective.name={config.objective.name}"
    _need(f"objective.{strength}", getattr(config.objective, strength), name)
    if config.logger.name == "wandb":
        _need("logger.project", config.logger.project, "logger.name=wandb")
        _need("logger.mode", config.logger.mode, "logger.name=wandb")
    return config


def _need(path: str, value: object, user: str) -> None:
    if value is None:
        raise ConfigError(f"{path} is not set, but {user} needs it; add +{path}=VALUE.")
