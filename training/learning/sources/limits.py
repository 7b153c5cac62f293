"""Which seats of finished dialogues are learned from, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Annotated

from envs.errors import ConfigError
from envs.options import Count, NonNegative, Range, Share
from envs.scenarios import scenario_of
from envs.scenarios.difficulty import Difficulty
from envs.types import Scenario, Turn
from training.config.play import SCENES
from training.learning.demonstrations import Row, dialogue_rows, drill_rows
from training.learning.sources.base import HELD_OUT, SURPLUS, Demonstrations, Stage0
from training.methods.records import PlayedEpisode
from training.methods.values import scores_of

Goal = Annotated[float, Range(at_least=0, at_most=10)]


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A finished dialogue.

    Attributes:
        goals: how far each seat reached its goal, 0 to 10; None where it was not scored.
    """

    scenario: Scenario
    turns: tuple[Turn, ...]
    goals: tuple[float | None, ...]


def dialogue_of(played: PlayedEpisode) -> Dialogue:
    """An episode as a dialogue to learn from."""
    episode, is_scored = played.episode, played.judgement.is_scored
    seats = range(len(episode.scenario.goals))
    goals = tuple(scores_of(played, seat).goal if is_scored else None for seat in seats)
    return Dialogue(episode.scenario, episode.turns, goals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is learned from; the rest is left out and counted.

    Attributes:
        min_goal: a seat that reached less is left out, 0 to 10.
        max_invalid_share: a seat of whose turns a larger share was no valid action is left out;
            invalid turns themselves are never learned from.
        min_words: a seat that said fewer words in a spoken turn, on average, is left out.
        max_tokens: a seat whose side of the dialogue has more tokens of the policy, prompts
            included, is left out; null: none is too long.
        min_kept: dialogues of which a seat must be kept; fewer are an error, before anything is
            trained.
    """

    min_goal: Goal = 7.0
    max_invalid_share: Share = 0.0
    min_words: NonNegative = 3.0
    max_tokens: Count | None = None
    min_kept: Count = 1

    def fault(self, dialogue: Dialogue, seat: int) -> str | None:
        """Why a seat is left out for what it did; None for one to learn from."""
        goal = dialogue.goals[seat]
        if goal is None:
            return "were not scored"
        own = [turn.action for turn in dialogue.turns if turn.seat == seat]
        if not own:
            return "had no turn"
        if all(action.invalid is not None for action in own):
            return "had no valid turn"
        if goal < self.min_goal:
            return f"had a goal below {self.min_goal:g}"
        if sum(action.invalid is not None for action in own) > self.max_invalid_share * len(own):
            return "had too many invalid turns"
        said = [len(action.speech.split()) for action in own if action.speech]
        if sum(said) < self.min_words * max(1, len(said)):
            return f"said fewer than {self.min_words:g} words a turn"
        return None

    def take(self, found: Demonstrations, rows: Iterable[Row]) -> None:
        """Keep the rows of one dialogue that are not too long, and count them."""
        before = found.kept
        for row in rows:
            if self.max_tokens is not None and len(row.token_ids) > self.max_tokens:
                found.dropped[f"had more than {self.max_tokens} tokens"] += 1
            else:
                found.rows.append(row)
                found.kept += 1
        found.dialogues += found.kept > before


def select(dialogues: Iterable[Dialogue], limits: Limits, stage: Stage0) -> Demonstrations:
    """The seats that keep within the limits, of dialogues in training scenarios."""
    found, config = Demonstrations(), stage.config
    for dialogue in dialogues:
        scenario = dialogue.scenario
        found.read += 1
        if scenario.split != "train":
            found.dropped[HELD_OUT] += len(scenario.goals)
            continue
        faults = [limits.fault(dialogue, seat) for seat in range(len(scenario.goals))]
        found.dropped.update(fault for fault in faults if fault is not None)
        seats = [seat for seat, fault in enumerate(faults) if fault is None]
        if not seats:
            continue
        if found.dialogues == config.cloning.dialogues:
            found.dropped[SURPLUS] += len(seats)
            continue
        if scenario.family not in SCENES and scenario.task is None:  # a store keeps no tasks
            scenario = scenario_of(scenario.id)
        rows = dialogue_rows(
            scenario,
            dialogue.turns,
            max(config.env.max_turns, len(dialogue.turns)),
            stage.template,
            stage.style,
            seats=seats,
            learns_invalid=False,
            notes=config.cloning.notes,
        )
        limits.take(found, rows)
    return found


def checked(found: Demonstrations, limits: Limits, where: str, stage: Stage0) -> Demonstrations:
    """With drills, in random order.

    Args:
        where: what was read or played, for the message.

    Raises:
        ConfigError: there are fewer dialogues than `min_kept`.
    """
    if found.dialogues < limits.min_kept:
        kept = f"only {found.dialogues} were" if found.dialogues else "none was"
        raise ConfigError(
            f"Stage 0 has too little to learn from: of {where}, {kept} kept, expected "
            f"{limits.min_kept} or more (demonstrations.min_kept). Seats that were left out: "
            f"{found.reasons or 'none'}. Nothing was trained. Choose another model or file, lower "
            "demonstrations.min_goal or another of its limits (--help demonstrations), or leave "
            "stage 0 out by cloning.dialogues=0."
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
