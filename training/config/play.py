"""Who plays, what, against whom and under which judge and critic, as options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from agents.prompts import Profiles, PromptStyle, style_of
from agents.registry import PLAYERS, PlayerSpec
from engines.models import ModelConfig
from envs.errors import ConfigError
from envs.options import Chosen, Count, NonNegative, OneOf, Positive, Range, Weighted, Weights
from envs.registry import Registry
from envs.scenarios import FAMILIES, draw_mixture, scenario_of
from envs.scenarios.difficulty import Difficulty
from envs.scenarios.open_ended import draw_scene
from envs.social import Order, Rules
from envs.types import Scenario
from judges.base import JUDGES, JudgeSpec
from judges.critics.base import CRITICS, CriticSpec
from training.config.engine import EngineConfig
from training.config.method import need

SCENES = ("open", "sotopia")
"""Sources of scenes in plain English, most of which no program can check."""

BUILT_IN_POLICIES = ("embedded", "scratch")
API = "api"
"""The policy behind an API, which can be measured and not trained."""

ROLES = ("self", "frozen_bc", "model", "checkpoint")
"""Partners beside the registered players: the policy, its frozen copy after behaviour cloning, and
those that are named by a model of their own."""


FamilyWeights = Annotated[Weights, Weighted(lambda: (*FAMILIES, *SCENES))]
PartnerWeights = Annotated[Weights, Weighted(lambda: (*ROLES, *PLAYERS))]
JudgeName = Annotated[str, OneOf(lambda: JUDGES)]
CriticWeights = Annotated[Weights, Weighted(lambda: CRITICS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvConfig:
    """Which scenarios are played.

    Attributes:
        families: scenario family -> weight; "sotopia" from a folder stands alone.
        max_turns: an episode ends after that many turns of both seats together.
        wave: episodes that are played side by side; a run that is stopped loses one wave at most.
        path: a file of scenes that ends in .jsonl, to train and measure on; or, to measure on, a
            folder of SOTOPIA's files, hf://OWNER/DATASET or hf://OWNER/DATASET@REVISION.
        split: which of SOTOPIA's combinations are played, where path is a folder.
        train_on_benchmark: whether SOTOPIA's own 90 scenes may be trained on; what is then measured
            on them says nothing about others.
        difficulty: how hard the families' scenarios are; each family defines it.
        order: who acts when; all published figures are of round_robin.
    """

    families: FamilyWeights
    max_turns: Annotated[int, Range(at_least=2)]
    wave: Count
    path: str | None = None
    split: Literal["all", "hard", "cooperative", "competitive"] | None = None
    difficulty: Literal["easy", "medium", "hard"] = "medium"
    order: Literal["round_robin", "random", "simultaneous"] = "round_robin"
    train_on_benchmark: bool = False

    @property
    def rules(self) -> Rules:
        """How long an episode lasts and who acts when."""
        return Rules(max_turns=self.max_turns, order=Order[self.order.upper()])

    def draw(self, split: str, count: int, *, start: int = 0) -> list[Scenario]:
        """`count` scenarios of the mixture, of a split; `start` skips the first ones."""
        difficulty = Difficulty(self.difficulty)
        return draw_mixture(
            self.families,
            split,
            count,
            start=start,
            difficulty=difficulty,
            others=self._from_files,
        )

    def scenario_of(self, scenario_id: str) -> Scenario:
        """The scenario with that id, which one of these families has.

        Raises:
            DataError: the id names no scenario.
        """
        family, _, place = scenario_id.partition("/")
        split, _, number = place.partition("/")
        own = self._from_files.get(family)
        if own is not None and number.isdecimal():
            return own(split, int(number))
        return scenario_of(scenario_id)

    @property
    def scene_file(self) -> Path | None:
        """The file of scenes that are played, None where there is none."""
        return Path(self.path) if self.path is not None and self.path.endswith(".jsonl") else None

    @property
    def _from_files(self) -> dict[str, Callable[[str, int], Scenario]]:
        file = self.scene_file
        if file is None:
            return {}
        return {name: partial(draw_scene, name, file) for name in self.scenes}

    @property
    def scenes(self) -> tuple[str, ...]:
        """The families in plain English, most of which only a judge can score."""
        return tuple(name for name in self.names if name in SCENES)

    @property
    def checkable(self) -> dict[str, float]:
        """The families whose goals a program checks, with their weights."""
        return {name: weight for name, weight in self.families.items() if name not in SCENES}

    @property
    def is_protocol(self) -> bool:
        """Whether SOTOPIA's folder is played whole, as its protocol says: to measure on."""
        return self.is_sotopia and self.scene_file is None

    @property
    def names(self) -> tuple[str, ...]:
        """The families that have a weight."""
        return tuple(name for name, weight in self.families.items() if weight > 0)

    @property
    def has_scenes(self) -> bool:
        """Whether there are scenes that scripted experts cannot play, nor the small model read."""
        return bool(self.scenes)

    @property
    def is_sotopia(self) -> bool:
        """Whether scenes of SOTOPIA's, from a folder or a file, are played."""
        return "sotopia" in self.names


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """How models behind APIs are called; one set of limits for all of them together.

    Attributes:
        concurrency: calls under way at once.
        requests_per_minute, tokens_per_minute: what the account allows; None for no limit.
        attempts: tries of one call, the first included.
        local_patience_s: how long a server on this machine (a loopback address) is tried while it
            is down or starts, in seconds, beyond `attempts`.
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
    local_patience_s: NonNegative = 300.0
    answers: Literal["off", "greedy", "all"] = "all"
    answers_file: str | None = None
    offline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """The model that learns, or that is measured.

    Attributes:
        name: "embedded" (the small model that is shipped), "scratch" (the same, from nothing), a
            model of yours (a Hugging Face folder, a folder with a peft adapter, a .gguf file, or
            hf://OWNER/NAME), a checkpoint of a run, or "api" for `model`, which can be measured
            only. A model of yours chooses policy=checkpoint, and a checkpoint brings the options
            that it was trained with, unless policy=... is given.
        prompt_style: "brief" for the line language of the small model, "full" for plain English
            with SOTOPIA's JSON actions.
        max_new_tokens: a turn is cut after that many tokens.
        prose_is_speech: in style "full", whether a reply without JSON is said aloud; else it is an
            invalid action.
        profiles: in style "full", what the prompt tells of the characters: "full" for all that the
            seat may know of both, "names" for its own name alone. Where a program scores, names are
            all that a small model needs, and two in five tokens of a prompt are saved.
        thinking: whether the model reasons before it answers, in the way of its own chat template;
            for models whose template leaves the choice, such as Qwen3. The reasoning counts
            towards max_new_tokens.
        constrained: whether the engine masks all tokens with which a turn would no longer be read
            as an action of this prompt style. Log-probs stay those of the unconstrained model.
    """

    name: str
    prompt_style: Literal["brief", "full"]
    temperature: Positive
    max_new_tokens: Count
    thinking: bool = False
    constrained: bool = False
    model: ModelConfig | None = None
    prose_is_speech: bool = True
    profiles: Profiles = "full"

    @property
    def style(self) -> PromptStyle:
        """How its prompts are written."""
        return _style(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointConfig:
    """Another model to play against; all as in `PolicyConfig`.

    Attributes:
        name: a model of yours or a checkpoint of a run; alone it chooses partner=checkpoint.
    """

    name: str
    prompt_style: Literal["brief", "full"]
    temperature: Positive
    max_new_tokens: Count
    prose_is_speech: bool = True
    profiles: Profiles = "full"
    thinking: bool = False
    constrained: bool = False

    @property
    def style(self) -> PromptStyle:
        """How its prompts are written."""
        return _style(self)


def _style(how: PolicyConfig | CheckpointConfig) -> PromptStyle:
    return style_of(how.prompt_style, prose_is_speech=how.prose_is_speech, profiles=how.profiles)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerConfig(Chosen):
    """Whom the policy plays against: in training by weight, in `training.evaluate` each in turn.

    Attributes:
        weights: partner -> weight. "self" is the policy, "frozen_bc" its copy after behaviour
            cloning, "experts" are scripted, "human" sits at the terminal; "model" and "checkpoint"
            are named below.
        model: a chat model behind an API.
        checkpoint: another Hugging Face model, loaded here.
    """

    weights: PartnerWeights
    model: ModelConfig | None = None
    checkpoint: CheckpointConfig | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def registry(cls) -> Registry[PlayerSpec]:
        return PLAYERS

    @classmethod
    def chosen(cls, own: Mapping[str, Any]) -> dict[str, str]:
        return {name: words for name, words in _weighted(own).items() if name in PLAYERS}

    @property
    def players(self) -> dict[str, PlayerSpec]:
        """The registered players that have a weight."""
        return {name: PLAYERS[name] for name in self.chosen({"weights": self.weights})}


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeConfig(Chosen):
    """Who scores the episodes: a judge with its own options."""

    name: JudgeName
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def registry(cls) -> Registry[JudgeSpec]:
        return JUDGES

    @property
    def spec(self) -> JudgeSpec:
        """The chosen judge."""
        return JUDGES[self.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticConfig(Chosen):
    """Who chooses the turns to branch at: critics with their own options.

    Attributes:
        weights: critic -> its share of the branch points; the weights need not add up to 1.
        poor_goal: critics that locate errors look only at episodes with a goal below this (SDPO,
            arXiv 2501.01821, section 3.1: 7); so does "start" where it is set.
        poor_at_most: whether a goal of exactly poor_goal is poor, too, as in SDPO's released code.
        poor_relationship: an episode with a relationship of at most this is poor as well, -5 to 5;
            in SDPO's released code 2. null: the goal alone decides.
        poor_per_seat: poor episodes of one scenario and seat that are looked at in an iteration, at
            most; in SDPO 3. null: all.
        selects_segments: whether the critic chooses how much of the better branch carries loss, up
            to pairing.max_segment_turns; else that much does.
    """

    is_strict: ClassVar[bool] = False  # a mixture's options may stay when a weight becomes 0

    weights: CriticWeights
    poor_goal: Annotated[float, Range(above=0, at_most=10)] | None = None
    poor_at_most: bool = False
    poor_relationship: Annotated[float, Range(at_least=-5, at_most=5)] | None = None
    poor_per_seat: Count | None = None
    selects_segments: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def registry(cls) -> Registry[CriticSpec]:
        return CRITICS

    @classmethod
    def chosen(cls, own: Mapping[str, Any]) -> dict[str, str]:
        return _weighted(own)

    @property
    def located_share(self) -> float:
        """The share of branch points that are located errors, in [0, 1]."""
        return self._share(lambda spec: spec.locates)

    @property
    def measured_share(self) -> float:
        """The share of branch points that are located by measuring values, in [0, 1]."""
        return self._share(lambda spec: spec.measures)

    @property
    def asked_share(self) -> float:
        """The share of branch points that a model is asked for, in [0, 1]."""
        return self._share(lambda spec: "model" in spec.option_names)

    def _share(self, counts: Callable[[CriticSpec], bool]) -> float:
        some = sum(weight for name, weight in self.weights.items() if counts(CRITICS[name]))
        return some / sum(self.weights.values())


def _weighted(own: Mapping[str, Any]) -> dict[str, str]:
    """What has a weight, with the words that gave it one."""
    return {name: f"weights.{name}" for name, weight in own["weights"].items() if weight > 0}


def check_constrained(
    option: str, how: PolicyConfig | CheckpointConfig, engine: EngineConfig
) -> None:
    """Whether the engine can hold a model's replies to the pattern of its prompt style.

    Args:
        option: what configures the model, such as "policy".

    Raises:
        ConfigError: it cannot.
    """
    if not how.constrained:
        return
    fault = None
    if how.name == API:
        fault = "no engine here generates the turns of a model behind an API"
    elif how.style.pattern is None:
        fault = f"prompt style {how.prompt_style} has no pattern"
    elif how.thinking:
        fault = f"{option}.thinking is true, and reasoning does not fit into the pattern's note"
    elif not engine.spec.constrains:
        fault = f"engine={engine.name} cannot hold replies to a pattern"
    if fault:
        raise ConfigError(
            f"{option}.constrained is true, but {fault}; set {option}.constrained=false."
        )


def check_env(env: EnvConfig, prompt_style: str) -> None:
    """Whether the scenarios can be drawn and read.

    Raises:
        ConfigError: they cannot.
    """
    if env.scene_file is not None and len(env.scenes) > 1:
        raise ConfigError(
            f"env.path is {env.path}, but both {' and '.join(env.scenes)} would read it; give one "
            "of them a weight."
        )
    if env.is_protocol:
        if len(env.names) > 1:
            raise ConfigError(
                f"env.families has {', '.join(env.names)}, but sotopia is a fixed list of "
                "combinations that mixes with nothing; choose env=sotopia, leave it out, or set "
                "env.path to a file of scenes (.jsonl), which does mix."
            )
        need("env.path", env.path, "env=sotopia")
        need("env.split", env.split, "env=sotopia")
    for name in ("path", "split"):
        if getattr(env, name) is None or env.is_sotopia:
            continue
        if name == "split" or env.scene_file is None or not env.has_scenes:
            raise ConfigError(
                f"env.{name} is set, but only env=sotopia reads files; leave it out."
                if name == "split" or not env.has_scenes
                else f"env.path is {env.path}, but env=open reads a file of scenes whose name "
                "ends in .jsonl; give such a file, or leave it out."
            )
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
