"""Plays episodes between any two players, and judges dialogues that were held elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agents.function import read_reply
from agents.prompts import told
from engines.event_loop import run_to_end
from envs.errors import ConfigError, DataError
from envs.interface import as_scenarios
from envs.social import Rules, SocialState
from envs.types import Action, Episode, Scenario, Turn
from judges.base import DIMENSION_RANGES, Judge, Judgement, Scores
from judges.verifiable import VerifiableJudge
from training.methods.records import PlayedEpisode

TURN_LIMIT = 20
"""SOTOPIA's limit of turns, both seats together."""


@dataclass(frozen=True, slots=True, repr=False)
class Dialogue:
    """A finished episode: who said and did what, how it ended and what a judge says of it.

    Attributes:
        played: the record itself, with players, seeds and the tokens that models wrote.
    """

    played: PlayedEpisode

    @property
    def scenario(self) -> Scenario:
        """What was played, with both private sides."""
        return self.played.episode.scenario

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The transcript."""
        return self.played.episode.turns

    @property
    def end(self) -> str:
        """Why it ended: "deal", "left", "stale", "turn limit" or "failed"."""
        return self.played.episode.end.value

    @property
    def deal(self) -> str | None:
        """The deal in seat 0's words, None without one."""
        deal, task = self.played.episode.deal, self.scenario.task
        return None if deal is None or task is None else task.terms(0, deal)

    @property
    def judgement(self) -> Judgement:
        """The judge's word, with a reason for each seat."""
        return self.played.judgement

    @property
    def scores(self) -> tuple[Scores, ...]:
        """The seven dimensions of each seat; empty where the episode is unscored."""
        return self.judgement.scores

    @property
    def goals(self) -> tuple[float, ...]:
        """Each seat's goal score, 0..10; empty where the episode is unscored."""
        return tuple(scores.goal for scores in self.scores)

    def lines(self) -> list[str]:
        """The transcript as text, a line for each turn."""
        names = [profile.first_name for profile in self.scenario.profiles]
        return [f"{names[turn.seat]} {_done(turn.action)}" for turn in self.turns]

    def row(self) -> dict[str, Any]:
        """The episode as a flat row: id, scenario, players, end, deal, and both seats' scores."""
        found: dict[str, Any] = {
            "id": self.played.id,
            "scenario": self.scenario.id,
            "family": self.scenario.family,
            "end": self.end,
            "deal": self.deal,
            "turns": len(self.turns),
            "judge": self.judgement.judge_id,
            "scored": self.judgement.is_scored,
        }
        for seat, player in enumerate(self.played.players):
            found[f"player_{seat}"] = player
            for name in (*DIMENSION_RANGES, "overall"):
                scored = self.scores[seat] if self.scores else None
                found[f"{name}_{seat}"] = None if scored is None else getattr(scored, name)
        return found

    def __repr__(self) -> str:
        deal = f": {self.deal}" if self.deal is not None else ""
        lines = [f"{self.scenario.id}: {' and '.join(self.played.players)}", *self.lines()]
        lines.append(f"Ended by {self.end}{deal}.")
        lines += self.judgement.reasons
        if self.goals:
            lines.append("Goals: " + ", ".join(f"{goal:.1f}" for goal in self.goals) + " of 10.")
        return "\n".join(lines)


def play(
    first: Any,
    second: Any = "experts",
    *,
    scenarios: str | Scenario | Sequence[str | Scenario] = "division/test/0",
    episodes: int = 1,
    seed: int = 0,
    max_turns: int = TURN_LIMIT,
    judge: Judge | None = None,
) -> list[Dialogue]:
    """Play episodes between two players, side by side, and judge them.

    Args:
        first, second: who takes seat 0 and seat 1: a function from a `History` to text (plain or
            async), a player, "experts", "human", "embedded", a checkpoint or the folder of a model.
        scenarios: ids such as "camp/test/3", names of families (their first hundred training
            scenarios), scenarios, or a sequence of them.
        episodes: how many episodes of each scenario, each with a seed of its own.
        seed: the same seed and players give the same episodes.
        max_turns: of both seats together.
        judge: who scores them; None: the verifiable judge, which asks no model.

    Returns:
        The dialogues, scenario by scenario.

    Raises:
        ConfigError: a seat or an option cannot be used.
        DataError: there is no such scenario.
    """
    from training.api.seats import players_of
    from training.play.rollout import EpisodePlan, episode_seed, play_wave

    chosen = as_scenarios(scenarios)
    if any(len(scenario.goals) != 2 for scenario in chosen):
        raise ConfigError("Two players play scenarios of two seats; leave the others out.")
    with players_of([first, second], seed) as (players, batcher):
        plans = [
            EpisodePlan(
                f"{scenario.id}/{number}",
                scenario,
                tuple(players),
                episode_seed(seed, "play", scenario.id, number),
            )
            for scenario in chosen
            for number in range(episodes)
        ]
        rules = Rules(max_turns=max_turns)
        return [Dialogue(p) for p in play_wave(plans, rules, judge or VerifiableJudge(), batcher)]


def judge_lines(
    scenario: str | Scenario, lines: Sequence[str], *, judge: Judge | None = None
) -> Dialogue:
    """Judge a dialogue that was held elsewhere, its turns in order from seat 0 on.

    Args:
        scenario: a scenario or its id.
        lines: what was said or done: plain words, `/offer TERMS`, `/accept`, `/leave` and so on, or
            SOTOPIA's JSON; see `agents.function.read_reply`.
        judge: None: the verifiable judge.

    Raises:
        DataError: the dialogue goes on after its end.
    """
    (chosen,) = as_scenarios(scenario)
    state = SocialState(chosen, Rules(max_turns=max(len(lines), 1)))
    for number, line in enumerate(lines, start=1):
        if not state.to_act:
            raise DataError(
                f"Line {number} comes after the end of the dialogue ({state.end}): {line[:80]!r}. "
                "Leave out what was said after a deal or after somebody had left."
            )
        (seat,) = state.to_act
        state.step({seat: read_reply(line, state.observe(seat), chosen.task)})
    if state.end is None:
        raise DataError("got no lines, expected at least one.")
    return judge_episode(state.episode(), judge=judge)


def judge_episode(episode: Episode, *, judge: Judge | None = None) -> Dialogue:
    """Judge an episode, such as one that `envs.scenarios.casino.load_casino` has read."""
    judgement = run_to_end((judge or VerifiableJudge()).judge(episode))
    names = tuple(profile.first_name for profile in episode.scenario.profiles)
    nobody = (None,) * len(episode.turns)
    return Dialogue(PlayedEpisode(episode.scenario.id, episode, names, nobody, 0, judgement))


def _done(action: Action) -> str:
    return told(action) + (f" (not carried out: {action.invalid})" if action.invalid else "")
