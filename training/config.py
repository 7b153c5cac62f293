"""What a run can be told: typed options, and how plain mappings become them.

To add an option, add a field with its type and range here and its value to a file under conf/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from envs.errors import ConfigError
from envs.scenarios import draw_mixture
from envs.scenarios.difficulty import Difficulty
from envs.social import Order, Rules
from envs.types import Scenario
from training.engine_config import EngineConfig
from training.method_config import PairingConfig, ReferenceConfig, Source, check_method, need
from training.objective_config import ObjectiveConfig, check_options
from training.options import Range, Weighted, build

Count = Annotated[int, Range(at_least=1)]
Amount = Annotated[int, Range(at_least=0)]
Share = Annotated[float, Range(at_least=0, at_most=1)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(at_least=0)]
Weights = dict[str, NonNegative]
"""Names and how often each is drawn; the weights need not add up to 1."""

FAMILIES = ("division", "plans", "camp", "price", "match")
SCENES = ("open", "sotopia")
"""Sources of scenes in plain English, most of which no program can check: to be evaluated on."""

PARTNERS = ("self", "frozen_bc", "experts", "model", "checkpoint", "human")
CRITICS = ("value", "first", "start", "random", "llm")
LOCATING_CRITICS = ("value", "first", "llm")
MEASURING_CRITICS = ("value", "first")
ASKING_JUDGES = ("rubric", "hybrid")
WIN_RATES = ("win_rate", "win_rate_pair")
# Written out, because the registries themselves import torch; a test compares them.


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvConfig:
    """Which scenarios are played.

    Attributes:
        families: scenario family -> weight; "sotopia" stands alone.
        max_turns: an episode is cut after that many turns of both seats together.
        wave: episodes that live side by side; a run that is stopped loses one wave at most.
        path: SOTOPIA's files: a folder, or hf://OWNER/DATASET or hf://OWNER/DATASET@REVISION.
        split: which of SOTOPIA's combinations are played.
        difficulty: of the families' scenarios, each of which says what it means by it.
        order: who acts when; everything was trained and measured in round_robin.
    """

    families: Annotated[Weights, Weighted((*FAMILIES, *SCENES))]
    max_turns: Annotated[int, Range(at_least=2)]
    wave: Count
    path: str | None = None
    split: Literal["all", "hard", "cooperative", "competitive"] | None = None
    difficulty: Literal["easy", "medium", "hard"] = "medium"
    order: Literal["round_robin", "random", "simultaneous"] = "round_robin"

    @property
    def rules(self) -> Rules:
        """How long an episode lasts and who acts when."""
        return Rules(max_turns=self.max_turns, order=Order[self.order.upper()])

    def draw(self, split: str, count: int, *, start: int = 0) -> list[Scenario]:
        """`count` scenarios of the mixture, of a split; `start` skips the first ones."""
        difficulty = Difficulty(self.difficulty)
        return draw_mixture(self.families, split, count, start=start, difficulty=difficulty)

    @property
    def names(self) -> tuple[str, ...]:
        """The families that have a weight."""
        return tuple(name for name, weight in self.families.items() if weight > 0)

    @property
    def has_scenes(self) -> bool:
        """Whether there are scenes that scripted experts cannot play, nor the small model read."""
        return bool(set(self.names) & set(SCENES))

    @property
    def is_sotopia(self) -> bool:
        """Whether SOTOPIA's files are played, and therefore nothing else."""
        return "sotopia" in self.names


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A chat model behind an API: a partner, a judge, a critic, or a policy to be measured.

    Attributes:
        name: as its maker names it, snapshot and all ("gpt-4o-2024-11-20"), with litellm's prefix
            for makers other than OpenAI ("anthropic/..."); or as the server at `base_url` does.
        base_url: of an OpenAI-compatible server (vLLM, llama.cpp, Ollama), such as
            http://127.0.0.1:8000/v1; it is called directly. None: litellm finds the maker.
        api_key_env: the NAME of the environment variable that holds the key; never the key.
        temperature: None where the model refuses to be told.
        max_tokens: a reply is cut after that many tokens.
        timeout_s: of one attempt, seconds.
        input_usd_per_mtok, output_usd_per_mtok: dollars per million tokens, where the price is not
            known or is another one. A server on this machine is free without them.
        weights_version: whatever tells apart weights that a server has under one name; "" where
            they do not change.
        prompt_style: as in `PolicyConfig`; for players alone.
    """

    name: str
    base_url: str | None = None
    api_key_env: str | None = None
    temperature: NonNegative | None = None
    max_tokens: Count = 512
    timeout_s: Positive = 60.0
    input_usd_per_mtok: NonNegative | None = None
    output_usd_per_mtok: NonNegative | None = None
    weights_version: str = ""
    prompt_style: Literal["brief", "full"] = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """How models behind APIs are called; one set of limits for all of them together.

    Attributes:
        concurrency: calls under way at once.
        requests_per_minute, tokens_per_minute: what the account allows; None for no limit.
        attempts: tries of one call, the first included.
        answers: which answers are kept and not asked for again: "greedy" those at temperature 0,
            "all" samples too, each by its own seed, so that a stopped run pays nothing twice.
        answers_file: where they are kept; None for the run's own folder. A shared file also lets a
            result be replayed after its model is gone.
        offline: answer from the file alone and call nobody.
    """

    concurrency: Count = 64
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    attempts: Count = 8
    answers: Literal["off", "greedy", "all"] = "all"
    answers_file: str | None = None
    offline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """The model that learns, or that is measured.

    Attributes:
        name: "embedded" (the small model that is shipped), "scratch" (the same, from nothing), a
            folder with a Hugging Face model, or "api" for `model`, which can be measured only.
        prompt_style: "brief" for the line language of the small model, "full" for plain English
            with SOTOPIA's JSON actions.
        max_new_tokens: a turn is cut after that many tokens.
    """

    name: str
    prompt_style: Literal["brief", "full"]
    temperature: Positive
    max_new_tokens: Count
    model: ModelConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointConfig:
    """Another Hugging Face model to play against: its folder; the rest as in `PolicyConfig`."""

    name: str
    prompt_style: Literal["brief", "full"]
    temperature: Positive
    max_new_tokens: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class CloningConfig:
    """Stage 0, behaviour cloning on dialogues of scripted experts.

    Attributes:
        dialogues: how many are played and learned from, each from both seats; 0 skips the stage.
        drills: single offers whose worth is to be reckoned, beside the dialogues.
        lr: peak step size; a short warm-up, then a cosine down to a tenth.
        batch_rows: dialogues seen from one seat, or drills, in one step.
    """

    dialogues: Amount
    drills: Amount = 0
    epochs: Count = 1
    lr: Positive
    batch_rows: Count = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerConfig:
    """Whom the policy plays against: in training by weight, in `training.evaluate` each in turn.

    Attributes:
        weights: partner -> weight. "self" is the policy, "frozen_bc" its clone after stage 0,
            "experts" are scripted, "human" sits at the terminal; the others are named below.
        model: a chat model behind an API.
        checkpoint: another Hugging Face model, loaded here.
    """

    weights: Annotated[Weights, Weighted(PARTNERS)]
    model: ModelConfig | None = None
    checkpoint: CheckpointConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeConfig:
    """Who scores the episodes.

    Attributes:
        name: "verifiable" computes, and leaves unscored what no program can check; "rubric" asks a
            model for SOTOPIA's seven dimensions; "hybrid" computes what it can and asks for the
            rest; "panel" is the mean of several rubric judges.
        model: the judge (rubric, hybrid).
        panel: the judges by any names (panel).
        samples: judgements that a model gives of one episode, or of two continuations in both
            orders, the agents' labels swapped in turn.
    """

    name: Literal["verifiable", "rubric", "hybrid", "panel"]
    model: ModelConfig | None = None
    panel: dict[str, ModelConfig] | None = None
    samples: Count = 2

    @property
    def asked(self) -> dict[str, ModelConfig]:
        """The models that will judge, by the options that name them."""
        if self.name == "panel":
            return {f"panel.{name}": model for name, model in (self.panel or {}).items()}
        if self.name in ASKING_JUDGES and self.model is not None:
            return {"model": self.model}
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticConfig:
    """Who chooses the turns to branch at.

    Attributes:
        weights: critic -> its share of the branch points.
        min_drop: the value critic takes a smaller fall for noise; points of goal.
        poor_goal: critics that locate errors look only at episodes with a goal below this (SDPO,
            arXiv 2501.01821, section 3.1: 7); so does "start" where it is set.
        model: whom the critic "llm" asks.
        selects_segments: whether the critic says how much of the better branch carries loss, up to
            pairing.max_segment_turns; else as much as that.
    """

    weights: Annotated[Weights, Weighted(CRITICS)]
    min_drop: Positive | None = None
    poor_goal: Annotated[float, Range(above=0, at_most=10)] | None = None
    model: ModelConfig | None = None
    selects_segments: bool = False

    @property
    def located_share(self) -> float:
        """The share of branch points that are located errors, in [0, 1]."""
        located = sum(self.weights.get(name, 0.0) for name in LOCATING_CRITICS)
        return located / sum(self.weights.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectConfig:
    """Self-play.

    Attributes:
        episodes: of an iteration.
        refresh_every: after how many iterations the policy that plays, branches included, is the
            one under training again. 1 is online, more is iterative, null is offline: all that is
            learned from is the clone's.
    """

    episodes: Count
    refresh_every: Count | None = 1


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


Precision = Literal["float32", "bfloat16"]


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
        name: what tables call the method; None for what it is made of.
        seed: the source of all randomness of the run.
        iterations: rounds of collect, branch, pair, update, evaluate.
        output_root: the folder in which the run makes a folder of its own.
        resume: a run's folder to go on with, None for a new run.
        threads: CPU threads for torch, None for as many as torch likes.
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
    budget_usd: NonNegative | None = None
    max_calls: Amount | None = None
    dry_run: bool = False
    api: ApiConfig = ApiConfig()
    engine: EngineConfig = field(default_factory=EngineConfig)


def from_mapping(options: Mapping[str, Any]) -> RunConfig:
    """Turn nested plain options into a checked configuration.

    Raises:
        ConfigError: an option is missing, unknown, of the wrong type, out of range or at odds with
            another; the message says which and what to do.
    """
    config = build(RunConfig, options)
    _check_env(config.env, config.policy.prompt_style)
    if any(config.critic.weights.get(name) for name in MEASURING_CRITICS):
        need("critic.min_drop", config.critic.min_drop, "a critic that locates errors")
    if config.critic.located_share > 0:
        need("critic.poor_goal", config.critic.poor_goal, "a critic that locates errors")
    _check_models(config)
    check_options(config.objective)
    check_method(config.pairing, config.objective, config.reference, config.branch.source)
    if config.logger.name == "wandb":
        need("logger.project", config.logger.project, "logger.name=wandb")
        need("logger.mode", config.logger.mode, "logger.name=wandb")
    return config


def _check_env(env: EnvConfig, prompt_style: str) -> None:
    if env.is_sotopia:
        if len(env.names) > 1:
            raise ConfigError(
                f"env.families has {', '.join(env.names)}, but sotopia is a fixed list of "
                "combinations that mixes with nothing; choose env=sotopia, or leave it out."
            )
        need("env.path", env.path, "env=sotopia")
        need("env.split", env.split, "env=sotopia")
    for name in ("path", "split"):
        if getattr(env, name) is not None and not env.is_sotopia:
            raise ConfigError(f"env.{name} is set, but only env=sotopia reads files; leave it out.")
    if env.has_scenes and env.difficulty != "medium":
        raise ConfigError(
            f"env.difficulty is {env.difficulty}, but the scenes of {' and '.join(env.names)} are "
            f"as they are; leave it out, or choose families of {', '.join(FAMILIES)}."
        )
    if env.has_scenes and prompt_style != "full":
        raise ConfigError(
            f"policy.prompt_style is {prompt_style}, but the scenes of {' and '.join(env.names)} "
            "are in plain English; set policy.prompt_style=full, for a model that reads it."
        )


def _check_models(config: RunConfig) -> None:
    """Whoever is asked through an API is named, and only once."""
    judge, partner = config.judge, config.partner
    if judge.name in ASKING_JUDGES:
        need("judge.model.name", judge.model, f"judge.name={judge.name}")
    if judge.name == "panel":
        need("judge.panel.NAME.name", judge.panel or None, "judge.name=panel")
        if len(judge.asked) < 2:
            raise ConfigError(
                f"judge.panel has {' and '.join(judge.asked)} alone, expected two judges or more; "
                "add another one, or choose judge=rubric."
            )
    if config.critic.weights.get("llm"):
        need("critic.model.name", config.critic.model, "the critic llm")
    if config.pairing.preferences == "judge" and config.pairing.name not in WIN_RATES:
        raise ConfigError(
            f"pairing.preferences is judge, but pairing={config.pairing.name} ranks branches by "
            "their value; choose pairing=win_rate, or pairing.preferences=value."
        )
    if config.pairing.preferences == "judge" and judge.name not in ASKING_JUDGES:
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
    judge, partner = config.judge, config.partner
    found = {
        "policy.model": config.policy.model if config.policy.name == "api" else None,
        "partner.model": partner.model if partner.weights.get("model") else None,
        **{f"judge.{name}": model for name, model in judge.asked.items()},
        "critic.model": config.critic.model if config.critic.weights.get("llm") else None,
    }
    return {option: model for option, model in found.items() if model is not None}
