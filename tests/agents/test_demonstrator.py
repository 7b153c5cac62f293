"""Experts whose turns are written as the policy would say them: token by token demonstrations."""

from __future__ import annotations

import pytest

from agents.demonstrator import WRITTEN, Demonstrator
from agents.prompts import STYLES
from agents.scripted import ScriptedExperts
from envs.social import view_of
from envs.types import Observation
from judges.critics.base import own_turns
from tests.training.lines import RULES, STREAM, STYLE, line_player, play_lines, scenario
from training.learning.demonstrations import dialogue_rows, standing_note
from training.play.rollout import EpisodePlan, trunk_of

EXPERTS = ScriptedExperts()
WRITING = Demonstrator(EXPERTS, STREAM, STYLE, standing_note)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_written_is_the_demonstration(seed: int) -> None:
    """Both sides written give the rows that stage 0 learns from, token by token."""
    (played,) = play_lines(EpisodePlan("e", scenario(), (WRITING, WRITING), seed))
    (plain,) = play_lines(EpisodePlan("e", scenario(), (EXPERTS, EXPERTS), seed))
    assert played.episode.turns == plain.episode.turns
    rows = dialogue_rows(scenario(), plain.episode.turns, RULES.max_turns, STREAM, STYLE)
    for seat, row in enumerate(rows):
        made = [played.generations[n] for n in own_turns(played.episode, seat)]
        ids = [i for g in made if g for i in (*g.context_ids, *g.token_ids)]
        mask = [
            said
            for g in made
            if g
            for said in (*(False for _ in g.context_ids), *(True for _ in g.token_ids))
        ]
        assert tuple(ids) == row.token_ids
        assert tuple(mask) == row.loss_mask


@pytest.mark.parametrize("seat", [0, 1])
def test_an_expert_goes_on_behind_what_the_policy_read_and_said(seat: int) -> None:
    players = (line_player(), EXPERTS) if seat == 0 else (EXPERTS, line_player())
    (played,) = play_lines(EpisodePlan("e", scenario(), players, 7))
    at = own_turns(played.episode, seat)[1]
    taught = tuple(WRITING if n == seat else player for n, player in enumerate(players))
    plan = EpisodePlan("b", scenario(), taught, 8, trunk_of(played, at))
    (branch,) = play_lines(plan)
    assert branch.generations[:at] == played.generations[:at]
    first, original = branch.generations[at], played.generations[at]
    assert first is not None
    assert original is not None
    assert first.context_ids == original.context_ids, "the trunk is the same token by token"
    assert first.weights_version.startswith(WRITTEN)
    assert first.logps == (0.0,) * len(first.token_ids)


def test_what_is_written_reads_back_as_the_action() -> None:
    (played,) = play_lines(EpisodePlan("e", scenario(), (WRITING, WRITING), 3))
    for turn, made in zip(played.episode.turns, played.generations, strict=True):
        assert made is not None
        assert STYLE.codec.decode(STREAM.decode(made.token_ids)) == turn.action


def test_there_is_no_note_without_an_offer() -> None:
    task = scenario().task
    assert task is not None
    nothing_said = Observation(view_of(scenario(), 0), (), RULES.max_turns)
    assert standing_note(task, nothing_said, STYLES["brief"]) == ""
