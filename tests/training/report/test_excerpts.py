"""What a page shows of a run: which groups, pairs and episodes, and how their acts are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envs.types import Action, ActionType, EndReason, Turn
from tests.training.pairing import Rules, by
from tests.training.played import group, played
from training.methods.records import BranchGroup, Example, PlayedEpisode
from training.report import excerpts
from training.report.dialogues import as_text, first_dialogues
from training.report.transcripts import view_episode, view_group, view_pair
from training.storage.run import Run


def complete(name: str, **more: object) -> PlayedEpisode:
    """An episode all of whose turns a model made."""
    return next(
        made
        for made in (played(f"{name}{n}", **more) for n in range(200))  # type: ignore[arg-type]
        if None not in made.generations
    )


@pytest.fixture
def scored_group() -> BranchGroup:
    """Seat 0 again at turn 2 of six: the original is worth 2, the continuations 9 and 5."""
    trunk = complete("trunk", n_turns=6, goals=(2.0, 2.0))
    branches = [
        complete(name, parent=trunk, branch_turn=2, n_turns=turns, goals=(worth, worth))
        for name, turns, worth in (("good", 8, 9.0), ("fair", 3, 5.0))
    ]
    made = group("g", trunk, k=2)
    return replace(made, branches=(trunk, *branches), reason="The goal of seat 0 fell.")


RULE = Rules(margin=1.0)
segment, win_rate = by("segment"), by("win_rate")


def test_a_pair_is_shown_as_it_was_trained_on(scored_group: BranchGroup) -> None:
    example = segment(scored_group, RULE)
    assert isinstance(example, Example)
    view = view_pair(scored_group, example)
    chosen, rejected = view.sides
    assert (chosen.label, rejected.label) == ("chosen: continuation 1", "rejected: the original")
    # From turn 2 of six on, seat 0 has two turns in the worse branch: so many are learned from.
    assert [turn.index for turn in rejected.turns if turn.has_loss] == [2, 4]
    assert [turn.index for turn in chosen.turns if turn.has_loss] == [2, 4]
    assert [turn.index for turn in chosen.turns] == [2, 3, 4, 5, 6, 7]
    assert [turn.index for turn in view.trunk] == [0, 1]
    assert view.reason == "The goal of Ana fell."


def test_of_a_whole_group_the_best_and_the_worst_are_shown(scored_group: BranchGroup) -> None:
    example = win_rate(scored_group, RULE)
    assert isinstance(example, Example)
    best, worst = view_pair(scored_group, example).sides
    assert (best.label, worst.label) == ("best: continuation 2", "worst: the original")
    assert [turn.index for turn in best.turns if turn.has_loss] == [2]
    assert (best.win_prob, worst.win_prob) == (1, 0)


def test_a_group_without_an_example_shows_no_loss(scored_group: BranchGroup) -> None:
    assert not any(turn.has_loss for side in view_group(scored_group).sides for turn in side.turns)


@pytest.mark.parametrize(
    ("act", "told"),
    [
        ("offer you book=1 hat=3 ball=0", ("offers", "you book 1, hat 3, ball 0")),
        ("offer price=7", ("offers", "price 7")),
        ("offer beach", ("offers", "beach")),
        ("accept", ("accepts", "")),
        ("reject", ("rejects", "")),
        ("accept the lift home", ("does", "accept the lift home")),
        ("sits down", ("does", "sits down")),
    ],
)
def test_acts_are_told_in_words(act: str, told: tuple[str, str]) -> None:
    made = played("e", n_turns=1)
    episode = replace(made.episode, turns=(Turn(0, 0, Action(ActionType.ACT, act)),))
    (turn,) = view_episode(replace(made, episode=episode)).turns
    assert (turn.verb, turn.words) == told
    assert turn.name == "Ana"


def test_namesakes_are_told_apart() -> None:
    made = played("e", n_turns=2)
    first, second = made.episode.scenario.profiles
    scenario = replace(
        made.episode.scenario, profiles=(first, replace(second, first_name="Ana", last_name="Vu"))
    )
    view = view_episode(replace(made, episode=replace(made.episode, scenario=scenario)))
    assert [turn.name for turn in view.turns] == ["Ana Ruiz", "Ana Vu"]


def add(run: Run, phase: str, *episodes: PlayedEpisode, iteration: int = 1) -> None:
    with run.store.wave(phase, iteration, 0) as wave:
        wave.add_episodes(list(episodes))


def same_place(name: str, other: PlayedEpisode, goals: tuple[float, float]) -> PlayedEpisode:
    """Another policy's episode on the same scenario, from the same seat, with the same seed."""
    made = played(name, goals=goals)
    episode = replace(made.episode, scenario=other.episode.scenario)
    return replace(made, episode=episode, seed=other.seed)


def test_clone_and_policy_are_compared_where_goals_differ(run: Run) -> None:
    before = [played(name, goals=(1.0, 1.0)) for name in ("a", "b", "c", "d")]
    goals = ((1.0, 1.0), (1.0, 2.0), (3.0, 1.0), (4.0, 4.0))
    after = [same_place(f"{b.id}2", b, g) for b, g in zip(before, goals, strict=True)]
    add(run, "evaluate-bc-frozen_bc", *before)
    add(run, "evaluate-final-frozen_bc", *after)
    found = excerpts.comparisons(run.store)
    assert [(c.partner, c.before.id, c.after.id) for c in found] == [
        ("frozen_bc", "b", "b2"),
        ("frozen_bc", "c", "c2"),
    ]
    assert excerpts.evaluated(run.store) == []


def test_a_scenario_that_was_played_from_both_seats_is_compared_seat_by_seat(run: Run) -> None:
    first = played("a", goals=(1.0, 1.0))
    second = replace(same_place("b", first, (2.0, 2.0)), seed=first.seed + 1)
    add(run, "evaluate-bc-frozen_bc", first, second)
    after = [same_place("a2", first, (9.0, 9.0)), same_place("b2", second, (9.0, 9.0))]
    add(run, "evaluate-final-frozen_bc", *after)
    found = excerpts.comparisons(run.store)
    assert [(c.before.id, c.after.id) for c in found] == [("a", "a2"), ("b", "b2")]


def test_without_a_clone_the_episodes_themselves_are_shown(run: Run) -> None:
    add(run, "evaluate-final-self", played("a"))
    assert excerpts.comparisons(run.store) == []
    (sample,) = excerpts.evaluated(run.store)
    assert (sample.title, [e.id for e in sample.episodes]) == ("against self", ["a"])


def test_the_first_dialogues_are_kept_whatever_they_say(run: Run) -> None:
    before = [played(name, goals=(5.0, 5.0)) for name in "abc"]
    after = [same_place(f"{b.id}2", b, (5.0, 5.0)) for b in before]
    add(run, "evaluate-bc-experts", *before)
    add(run, "evaluate-final-experts", *reversed(after))
    add(run, "evaluate-final-self", played("d"))
    found = first_dialogues(run.folder, "experts", 2)
    assert [kept["scenario"] for kept in found] == [b.episode.scenario.id for b in before[:2]]
    assert found[0]["before"] == as_text(view_episode(before[0]))
    assert found[0]["after"] == as_text(view_episode(after[0]))
    assert first_dialogues(run.folder, "self", 2) == [], "bc did not play with itself"


def test_a_dialogue_as_text_has_goals_turns_and_what_was_wrong() -> None:
    turn = played("a").episode.turns[0]
    invalid = replace(turn, action=Action(ActionType.NONE, "", invalid="no act"))
    whole = played("a")
    shown = as_text(view_episode(replace(whole, episode=replace(whole.episode, turns=(invalid,)))))
    name = whole.episode.scenario.profiles[turn.seat].first_name
    assert f"{name} does nothing (invalid: no act)" in shown
    assert f"wants: {whole.episode.scenario.goals[0]}" in shown
    assert shown.splitlines()[0] == whole.episode.scenario.context
    assert shown.splitlines()[-1].startswith("Goals: ")


def test_each_kind_of_ending_comes_first(run: Run) -> None:
    late = played("z")
    left = replace(late, episode=replace(late.episode, end=EndReason.LEFT, deal=None))
    add(run, "collect", played("old"), iteration=1)
    add(run, "collect", *(played(name) for name in "abcd"), left, iteration=2)
    (sample,) = excerpts.collected(run.store)
    assert [e.id for e in sample.episodes] == ["a", "z", "b"]


def test_the_groups_that_were_trained_on_are_preferred(run: Run, scored_group: BranchGroup) -> None:
    other = replace(scored_group, id="h", critic="value")
    with run.store.wave("branch", 1, 0) as wave:
        wave.add_groups([scored_group, other])
    assert [view.id for view in excerpts.groups(run.store)] == ["g", "h"]
    example = segment(other, RULE)
    assert isinstance(example, Example)
    with run.store.wave("pair", 1, 0) as wave:
        wave.add_examples([example])
    (view,) = excerpts.groups(run.store)
    assert (view.id, view.sides[0].label) == ("h", "chosen: continuation 1")
