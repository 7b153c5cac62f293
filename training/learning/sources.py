"""The sources of demonstrations: scripted experts, a model that talks to itself, and files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Annotated, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError

from agents.base import Player
from agents.chat_template import ChatTemplate
from agents.prompts import STYLES, PromptStyle
from engines.batcher import Batcher
from engines.models import ModelConfig
from envs.errors import ConfigError, DataError
from envs.options import NonNegative, Range
from envs.registry import NoOptions
from envs.scenarios import scenario_of
from envs.scenarios.difficulty import Difficulty
from judges.base import Judge
from training.config import RunConfig
from training.config.play import SCENES
from training.learning.demonstrations import (
    Row,
    demonstrations,
    dialogue_rows,
    drill_rows,
    message_row,
)
from training.methods.records import PlayedEpisode
from training.methods.sources import source
from training.methods.values import scores_of
from training.play.rollout import EpisodePlan, RunLoop, episode_seed, play_wave
from training.play.waves import Progress
from training.storage.run_files import STORE
from training.storage.store import Store

Goal = Annotated[float, Range(at_least=0, at_most=10)]
Share = Annotated[float, Range(at_least=0, at_most=1)]


@dataclass(frozen=True, slots=True)
class Talk:
    """A model that plays both seats, and what its dialogues need.

    Attributes:
        run: runs a wave to its end.
    """

    player: Player
    judge: Judge
    batcher: Batcher
    run: RunLoop[list[PlayedEpisode]]


OpenTalk = Callable[[ModelConfig], AbstractContextManager[Talk]]
"""Seats a model behind an API, whose calls count towards the run's budget."""


@dataclass(frozen=True, slots=True)
class Stage0:
    """What a source of demonstrations is given.

    Attributes:
        template: writes dialogues as the policy's tokens.
        open_talk: for sources that ask a model.
        progress: is told how many dialogues have been played.
    """

    config: RunConfig
    template: ChatTemplate
    open_talk: OpenTalk
    progress: Progress

    @property
    def style(self) -> PromptStyle:
        """The policy's."""
        return STYLES[self.config.policy.prompt_style]


@dataclass(slots=True)
class Demonstrations:
    """What a source has found: rows to learn from, and how many seats of dialogues were left out.

    Attributes:
        kept: dialogues, each seen from one seat.
        dropped: the same by the reason why they were left out.
    """

    rows: list[Row] = field(default_factory=list)
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def describe(self) -> str:
        """The counts in one sentence."""
        reasons = "; ".join(f"{count} {reason}" for reason, count in sorted(self.dropped.items()))
        left_out = f" Left out: {reasons}." if reasons else ""
        return f"Stage 0 learns from {self.kept} seats of dialogues.{left_out}"


@source("experts", needs_task=True)
def experts(options: NoOptions, stage: Stage0) -> Demonstrations:
    """Scripted experts of mixed skill, which play families whose goals a program checks."""
    config = stage.config
    rows = demonstrations(
        config.env.checkable,  # experts play no others
        config.cloning,
        config.env.rules,
        stage.template,
        stage.style,
        seed=config.seed,
        difficulty=Difficulty(config.env.difficulty),
    )
    return Demonstrations(rows, 2 * config.cloning.dialogues)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfChatOptions:
    """A model that talks to itself.

    Attributes:
        model: who plays both seats.
        min_goal: a seat that reached less is left out, by the run's judge, 0 to 10.
        max_invalid_share: a seat of whose turns a larger share was no valid action is left out;
            invalid turns themselves are never learned from.
        min_words: a seat that said fewer words in a spoken turn, on average, is left out.
    """

    model: ModelConfig
    min_goal: Goal = 7.0
    max_invalid_share: Share = 0.0
    min_words: NonNegative = 3.0


@source("self_chat", plays=True)
def self_chat(options: SelfChatOptions, stage: Stage0) -> Demonstrations:
    """Two copies of a model behind an API that talk in the run's training scenarios."""
    config, played = stage.config, list[PlayedEpisode]()
    scenarios = config.env.draw("train", config.cloning.dialogues)
    with stage.open_talk(options.model) as talk:
        players = (talk.player,) * 2
        plans = [
            EpisodePlan(f"demo-{n}", scenario, players, episode_seed(config.seed, "demo", n))
            for n, scenario in enumerate(scenarios)
        ]
        for start in range(0, len(plans), config.env.wave):
            wave = plans[start : start + config.env.wave]
            rules = config.env.rules
            played += play_wave(wave, rules, talk.judge, talk.batcher, run=talk.run)
            stage.progress(len(played), len(plans))
    limits = Limits(options.min_goal, options.max_invalid_share, options.min_words)
    found = from_episodes(played, limits, stage)
    return _some(found, f"{len(played)} dialogues of {options.model.name} with itself", stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """Dialogues of a file or of another run.

    Attributes:
        path: the folder of a run, whose training scenes are taken from its store; or a .json or
            .jsonl file of conversations in the ShareGPT form.
        min_goal: of a run: a seat that reached less is left out, 0 to 10.
    """

    path: str
    min_goal: Goal = 7.0


@source("file")
def file(options: FileOptions, stage: Stage0) -> Demonstrations:
    """Dialogues of another run's store, or conversations of a file in the ShareGPT form."""
    place = file_of(options.path)
    if place.name != STORE:
        return _some(_from_share_gpt(place, stage), f"the conversations of {place}", stage)
    with Store.read_only(place) as store:
        phases = {
            (key.phase, key.iteration): None for key in store.waves()
            if key.phase == "collect" or key.phase.startswith("evaluate")
        }  # fmt: skip
        played = [one for phase in phases for one in store.episodes(*phase)]
    found = from_episodes(played, Limits(options.min_goal), stage)
    return _some(found, f"{len(played)} dialogues of {place}", stage)


def file_of(path: str) -> Path:
    """The file that `demonstrations.path` names.

    Raises:
        ConfigError: there is none.
    """
    place = Path(path, STORE) if Path(path).is_dir() else Path(path)
    if not place.is_file() or place.suffix not in (".json", ".jsonl", Path(STORE).suffix):
        raise ConfigError(
            f"demonstrations.path is {path!r}, expected the folder of a run (with {STORE}), or a "
            "file of conversations in the ShareGPT form that ends in .json or .jsonl."
        )
    return place


@dataclass(frozen=True, slots=True)
class Limits:
    """What a seat must have done to be learned from; see `SelfChatOptions`."""

    min_goal: float
    max_invalid_share: float = 1.0
    min_words: float = 0.0

    def fault(self, played: PlayedEpisode, seat: int) -> str | None:
        """Why a seat of an episode is left out; None for one to learn from."""
        if not played.judgement.is_scored:
            return "were not scored"
        own = [turn.action for turn in played.episode.turns if turn.seat == seat]
        if not own:
            return "had no turn"
        if scores_of(played, seat).goal < self.min_goal:
            return f"had a goal below {self.min_goal:g}"
        if sum(action.invalid is not None for action in own) > self.max_invalid_share * len(own):
            return "had too many invalid turns"
        said = [len(action.speech.split()) for action in own if action.speech]
        if sum(said) < self.min_words * max(1, len(said)):
            return f"said fewer than {self.min_words:g} words a turn"
        return None


def from_episodes(
    episodes: Sequence[PlayedEpisode], limits: Limits, stage: Stage0
) -> Demonstrations:
    """The seats that keep within the limits, of dialogues in training scenarios."""
    found, taken, config = Demonstrations(), 0, stage.config
    for played in episodes:
        scenario = played.episode.scenario
        if scenario.split != "train":
            found.dropped["were of held-out scenarios"] += len(scenario.goals)
            continue
        faults = [limits.fault(played, seat) for seat in range(len(scenario.goals))]
        found.dropped.update(fault for fault in faults if fault is not None)
        seats = [seat for seat, fault in enumerate(faults) if fault is None]
        if not seats:
            continue
        if taken == config.cloning.dialogues:
            found.dropped["were more than cloning.dialogues"] += len(seats)
            continue
        taken += 1
        if scenario.family not in SCENES and scenario.task is None:  # a store keeps no tasks
            scenario = scenario_of(scenario.id)
        rows = dialogue_rows(
            scenario,
            played.episode.turns,
            config.env.max_turns,
            stage.template,
            stage.style,
            seats=seats,
            learns_invalid=False,
            notes=config.cloning.notes,
        )
        found.rows += rows
        found.kept += len(seats)
    return found


class _Said(BaseModel):
    """One message of a conversation."""

    sender: Literal["system", "human", "user", "gpt", "assistant"]
    value: str


class _Conversation(BaseModel):
    """One conversation of a ShareGPT file; "from" is renamed, since it is a word of Python."""

    conversations: list[_Said]


_CONVERSATIONS = TypeAdapter(list[_Conversation])


def _from_share_gpt(place: Path, stage: Stage0) -> Demonstrations:
    found = Demonstrations()
    for conversation in _read_share_gpt(place):
        said = [(message.sender, message.value) for message in conversation.conversations]
        row = message_row(said, stage.template)
        if row is None:
            found.dropped["were no system message, then human and gpt in turn"] += 1
        elif found.kept == stage.config.cloning.dialogues:
            found.dropped["were more than cloning.dialogues"] += 1
        else:
            found.rows.append(row)
            found.kept += 1
    return found


def _read_share_gpt(place: Path) -> list[_Conversation]:
    text = place.read_text(encoding="utf-8")
    try:
        lines = text.splitlines()
        told = [json.loads(x) for x in lines if x] if place.suffix == ".jsonl" else json.loads(text)
        return _CONVERSATIONS.validate_python(list(_renamed(told)))
    except (ValueError, TypeError, AttributeError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise DataError(
            f"{place} cannot be read ({said}); expected a list of objects with a key "
            '"conversations": a list of {"from": "system", "human" or "gpt", "value": text}.'
        ) from error


def _renamed(told: list[dict[str, list[dict[str, str]]]]) -> Iterator[dict[str, object]]:
    for one in told:
        yield {"conversations": [
            {"sender": said.get("from"), "value": said.get("value")}
            for said in one.get("conversations", [])
        ]}  # fmt: skip


def _some(found: Demonstrations, where: str, stage: Stage0) -> Demonstrations:
    """With drills, in random order.

    Raises:
        ConfigError: there is nothing to learn from.
    """
    if not found.rows:
        raise ConfigError(
            f"Stage 0 has nothing to learn from: of {where}, none was kept. {found.describe()} "
            "Choose another model or file, lower demonstrations.min_goal or another of its limits "
            "(--help demonstrations), or leave stage 0 out by cloning.dialogues=0."
        )
    config = stage.config
    rng = Random(f"drills/{config.seed}")
    found.rows += drill_rows(
        config.env.checkable if config.cloning.drills else {},
        config.cloning.drills,
        stage.template,
        stage.style,
        rng,
        Difficulty(config.env.difficulty),
    )
    rng.shuffle(found.rows)
    return found
