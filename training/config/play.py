"""Who plays, what, against whom and under which judge and critic, as options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from envs.errors import ConfigError
from envs.scenarios import draw_mixture
from envs.scenarios.difficulty import Difficulty
from envs.social import Order, Rules
from envs.types import Scenario
from training.config.method import need
from training.config.options import Count, NonNegative, Positive, Range, Weighted, Weights

FAMILIES = ("division", "plans", "camp", "price", "match")
SCENES = ("open", "sotopia")
"""Sources of scenes in plain English, most of which no program can check: to be evaluated on."""

BUILT_IN_POLICIES = ("embedded", "scratch")
API = "api"
"""The policy behind an API, which can be measured and not trained."""

PARTNERS = ("self", "frozen_bc", "experts", "model", "checkpoint", "human")
CRITICS = ("value", "first", "start", "random", "llm")
LOCATING_CRITICS = ("value", "first", "llm")
MEASURING_CRITICS = ("value", "first")
ASKING_JUDGES = ("rubric", "hybrid")
# Written out, because options are read before it is known that a package `judges` is ours, and some
# registries import torch; a test compares them.


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


def check_env(env: EnvConfig, prompt_style: str) -> None:
    """Whether the scenarios can be drawn and read.

    Raises:
        ConfigError: they cannot.
    """
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
