"""What a run can be told: typed options, and how plain mappings become them.

To add an option, add a field with its type and range here, or in the module of its section, and its
value to a file under conf/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engines.models import ModelConfig, models_in
from envs.errors import ConfigError
from envs.options import Amount, Count, NonNegative, Positive, build
from training.config.engine import EngineConfig, LoggerConfig
from training.config.method import (
    ObjectiveConfig,
    PairingConfig,
    ReferenceConfig,
    Source,
    check_method,
    need,
)
from training.config.play import (
    ApiConfig,
    CriticConfig,
    EnvConfig,
    JudgeConfig,
    PartnerConfig,
    PolicyConfig,
    check_env,
)

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloningConfig:
    """Stage 0, behaviour cloning on dialogues of scripted experts.

    Attributes:
        dialogues: how many are played and learned from, each from both seats; 0 skips the stage.
        drills: single offers whose worth is to be reckoned, beside the dialogues.
        lr: peak step size; a short warm-up, then a cosine down to a tenth.
        batch_rows: dialogues seen from one seat, or drills, in one step.
        checkpointing, precision: see `UpdateConfig`.
    """

    dialogues: Amount
    drills: Amount = 0
    epochs: Count = 1
    lr: Positive
    batch_rows: Count = 64
    checkpointing: bool = False
    precision: Precision = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectConfig:
    """Self-play.

    Attributes:
        episodes: of an iteration.
        refresh_every: after how many iterations the policy that plays, branches included, is the
            one under training again. 1 is online, more is iterative, null is offline: all that is
            learned from is the clone's.
        ahead: the next iteration's self-play and branches are played while the policy is updated,
            so that whoever plays is one update behind.
    """

    episodes: Count
    refresh_every: Count | None = 1
    ahead: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchConfig:
    """Branching.

    Attributes:
        points: branch points an iteration.
        continuations: K, sampled from each branch point beside the original.
        probes: continuations that estimate one value for a critic that measures; always the
            policy's own.
        source: who takes the policy's seat in a continuation: itself, or scripted experts, of
            mixed skill or keen ones alone, whose turns are written as the policy would say them.
        tokens: branching stops for an iteration, after the wave at hand, when models have sampled
            that many tokens in it; so methods can be given equally much. null: never.
    """

    points: Count
    continuations: Count
    probes: Count
    source: Source = "policy"
    tokens: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateConfig:
    """How an update steps.

    Attributes:
        learning_rate: of AdamW, at the first step of an iteration.
        schedule: "cosine" falls to 0 over the update, without warm-up; "constant" stays.
        epochs: how often each example is seen.
        steps: optimiser steps of an update, in as many epochs as it takes; null: as `epochs` says.
        batch_examples: examples a step; the last step of an epoch may have fewer.
        token_budget: columns a forward pass may have, padding included; bounds memory and does
            not change the gradients.
        checkpointing: keep of each layer only what goes into it, and compute the rest again for
            the backward pass: less memory, about a third more time.
        precision: of matrix products, for the policy and its reference; weights and sums stay as
            they are. "bfloat16" needs hardware for it.
        max_grad_norm: longer gradients are cut to this length.
        nll_weight: weight of the better branches' negative log-likelihood beside the objective.
        min_rejected_log_ratio: stop when a batch's mean log-ratio of branches that lose (win_prob
            below 1/2) is below this, nats; None never stops.
    """

    learning_rate: Positive
    schedule: Literal["cosine", "constant"] = "cosine"
    epochs: Count = 1
    steps: Count | None = None
    batch_examples: Count = 16
    token_budget: Count = 8192
    checkpointing: bool = False
    precision: Precision = "float32"
    max_grad_norm: Positive = 1.0
    nll_weight: NonNegative = 0.0
    min_rejected_log_ratio: float | None = -5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """Low-rank training (LoRA, arXiv 2106.09685): of the clone, and of each update.

    Each update learns a change of its own, which is added to the weights at its end (ReLoRA, arXiv
    2307.05695). So gradients and optimiser are small, and checkpoints and engines see whole models.

    Attributes:
        rank: of the change of each linear layer but the output's; null trains all weights.
        alpha: changes are scaled by alpha / rank.
        learning_rate_factor: step sizes are multiplied by that; low-rank changes want larger ones,
            of about ten times (Schulman and Thinking Machines, LoRA without regret, 2025).
    """

    rank: Count | None = None
    alpha: Count = 32
    learning_rate_factor: Positive = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """Evaluation on held-out scenarios.

    Attributes:
        split: of the final comparison. "dev" is for choosing a recipe, "test" for reporting one.
        scenarios: in the final comparison, a partner; a split of SOTOPIA is played whole.
        curve_scenarios: dev scenarios a partner for the learning curves.
        every: iterations between two points of those curves.
        stubborn_bias: how much less, in nats, the control "stubborn" wants to accept an offer
            than the clone; None leaves the control out.
        both_seats: against others the policy plays each scenario from both seats; else it changes
            seats from scenario to scenario. SOTOPIA's are played from both in any case.
        episodes: in the final comparison, of each scenario and seat, with seeds of their own; a
            scenario still counts once, by its mean.
    """

    split: Literal["dev", "test"]
    scenarios: Count
    curve_scenarios: Amount = 128
    every: Count
    stubborn_bias: Positive | None = None
    both_seats: bool = False
    episodes: Count = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationConfig:
    """What a judge is measured against (python -m judges.calibrate).

    Attributes:
        episodes: of env.families, played by scripted experts; 0 leaves them out.
        casino: CaSiNo's files: a folder, or hf://OWNER/DATASET; empty leaves them out.
        split: which of its dialogues. Labels of "valid" are for reporting, never for tuning.
        dialogues: at most so many of them, the first ones; 0 takes all.
        twice: episodes and dialogues that are judged twice more, to see whether verdicts stay.
        canaries: whether dialogues that play to the judge are judged as well.
    """

    episodes: Amount = 100
    casino: str = ""
    split: Literal["train", "valid", "all"] = "train"
    dialogues: Amount = 0
    twice: Amount = 50
    canaries: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One training run.

    Attributes:
        name: what tables call the method; None for what it is made of.
        seed: the source of all randomness of the run.
        iterations: rounds of collect, branch, pair, update, evaluate.
        output_root: the folder in which the run makes a folder of its own.
        resume: a run's folder to go on with, None for a new run.
        threads: CPU threads for torch, None for as many as torch likes.
        device: where the policy learns. On "cuda" its turns are generated by vLLM.
        size: which defaults of a method are taken: those measured with the "small" model that is
            shipped, or those of its paper, for "large" ones.
        budget_usd: dollars that all calls to APIs together may cost; None for any.
        max_calls: attempts at such calls that the run may make; None for any.
        dry_run: print what the run would call and what that would cost, and stop.
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
    name: str | None = None
    calibration: CalibrationConfig = CalibrationConfig()
    resume: str | None = None
    threads: Count | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    size: Literal["small", "large"] = "small"
    budget_usd: NonNegative | None = None
    max_calls: Amount | None = None
    dry_run: bool = False
    api: ApiConfig = field(default_factory=ApiConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    lora: LoraConfig = LoraConfig()


def from_mapping(options: Mapping[str, Any]) -> RunConfig:
    """Turn nested plain options into a checked configuration.

    Raises:
        ConfigError: an option is missing, unknown, of the wrong type, out of range or at odds with
            another; the message says which and what to do.
    """
    config = build(RunConfig, options)
    check_env(config.env, config.policy.prompt_style)
    if config.critic.located_share > 0:
        need("critic.poor_goal", config.critic.poor_goal, "a critic that locates errors")
    if config.device == "cuda" and not config.engine.spec.on_gpu:
        raise ConfigError(
            f"device is cuda, but engine={config.engine.name} generates on the CPU; choose "
            "engine=vllm, or device=cpu."
        )
    check_method(config.pairing, config.objective, config.reference, config.branch.source)
    _check_models(config)
    return config


def _check_models(config: RunConfig) -> None:
    """Every model behind an API that will be asked is named, and has something to do."""
    judge, partner = config.judge, config.partner
    if judge.name == "panel" and len(judge.panel) < 2:
        raise ConfigError(
            f"judge.panel has {' and '.join(f'panel.{name}' for name in judge.panel)} alone, "
            "expected two judges or more; add another one, or choose judge=rubric."
        )
    if config.pairing.preferences == "judge" and not config.pairing.spec.by_win_rate:
        raise ConfigError(
            f"pairing.preferences is judge, but pairing={config.pairing.name} ranks branches by "
            "their value; choose pairing=win_rate, or pairing.preferences=value."
        )
    if config.pairing.preferences == "judge" and not judge.spec.asks_one_model:
        raise ConfigError(
            f"pairing.preferences is judge, but judge={judge.name} has no one model to ask; choose "
            "judge=hybrid, or pairing.preferences=value."
        )
    if partner.weights.get("model"):
        need("partner.model.name", partner.model, "the partner model")
    if partner.weights.get("checkpoint"):
        need("partner.checkpoint.name", partner.checkpoint, "the partner checkpoint")
    if config.policy.name == "api":
        need("policy.model.name", config.policy.model, "policy.name=api")


def models(config: RunConfig) -> dict[str, ModelConfig]:
    """Every chat model behind an API that the run will call, by the option that names it."""
    partner = config.partner
    roles = {
        "policy.model": config.policy.model if config.policy.name == "api" else None,
        "partner.model": partner.model if partner.weights.get("model") else None,
    }
    return {
        **{option: model for option, model in roles.items() if model is not None},
        **models_in(partner.options, "partner"),
        **models_in(config.judge.options, "judge"),
        **models_in(config.critic.options, "critic"),
    }
