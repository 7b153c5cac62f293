"""Pairing on groups made by hand: which branches, how long, and on which tokens the loss falls."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from agents.scripted import ScriptedExperts
from engines.types import Generation, Sampling
from envs.types import Action, ActionType, EndReason, Episode, Turn
from judges.base import Judgement, Scores
from judges.critics.base import own_turns
from tests.training.lines import line_player, play_lines, scenario, stream_of
from tests.training.pairing import Rules, by, filled
from training.methods.pairings import PAIRINGS, pair_up
from training.methods.pairings.base import Unpaired, trunk_ids
from training.methods.pairings.drawn import accept
from training.methods.pairings.pairs import TIE, Sides
from training.methods.records import BranchGroup, BranchTokens, Example, PlayedEpisode
from training.methods.values import goal
from training.play.rollout import EpisodePlan, trunk_of

RULE = Rules()
binary, expert, imitation, preferred, rejection, segment, session, step, turn, win_rate = map(
    by,
    (
        *("binary", "expert", "imitation", "preferred", "rejection", "segment", "session", "step"),
        *("turn", "win_rate"),
    ),
)
win_rate_pair = by("win_rate_pair")
Said = Sequence[tuple[int, int]]
"""Of each own turn the one token before it and the one token said."""


def episode(name: str, said: Said, goals: float, ends_with_other: bool = True) -> PlayedEpisode:
    """Seat 0 is the policy and begins; the partner's turns carry no tokens of its own.

    Args:
        goals: of seat 0; the other side gets 5.
    """
    turns: list[Turn] = []
    generations: list[Generation | None] = []
    for number, (context, token) in enumerate(said):
        made = Generation((context,), (token,), (-1.0,), Sampling(), 0, "v")
        turns.append(Turn(len(turns), 0, Action(ActionType.SPEAK, f"{token}")))
        generations.append(made)
        if ends_with_other or number < len(said) - 1:
            turns.append(Turn(len(turns), 1, Action(ActionType.SPEAK, "hm")))
            generations.append(None)
    scores = tuple(Scores(9, 0, 0, 0, 0, 0, g) for g in (goals, 5.0))
    return PlayedEpisode(
        id=name,
        episode=Episode(scenario(), tuple(turns), EndReason.TURN_LIMIT, None),
        players=("policy", "experts"),
        generations=tuple(generations),
        seed=0,
        judgement=Judgement("verifiable", "1", scores, ("", "")),
    )


START: Said = ((10, 1), (20, 2))
"""The trunk: contexts in tens, own words in ones. The branch turn is the third own one, turn 4."""


def group(
    *branches: tuple[Said, float], critic: str = "random", win_probs: tuple[float, ...] = ()
) -> BranchGroup:
    """Branches after `START`, each with what was said from turn 4 on and the goal it came to."""
    return BranchGroup(
        id="g",
        seat=0,
        turn=4,
        critic=critic,
        reason="",
        branches=tuple(
            episode(f"b{k}", (*START, *said), goals) for k, (said, goals) in enumerate(branches)
        ),
        win_probs=win_probs or tuple(0.5 for _ in branches),
    )


SHORT: Said = ((30, 3),)
OTHER: Said = ((30, 4), (41, 5))
LONG: Said = ((30, 6), (42, 7), (52, 8), (62, 9))


def test_a_pair_by_hand() -> None:
    example = segment(group((OTHER, 4), (LONG, 9), (LONG, 5)), RULE)
    assert example == Example(
        group_id="g",
        trunk_ids=(10, 1, 20, 2, 30),  # up to the start of the reply at the branch turn
        branches=(
            # Two own turns each, as many as the shorter has; 42 and 41 are what was heard between.
            BranchTokens((6, 42, 7), (True, False, True), 1.0),
            BranchTokens((4, 41, 5), (True, False, True), 0.0),
        ),
    )


@pytest.mark.parametrize(
    ("chosen", "rejected", "longest", "turns"),
    [(LONG, LONG, 3, 3), (LONG, LONG, 9, 4), (LONG, SHORT, 3, 1), (SHORT, LONG, 3, 1)],
)
def test_both_segments_are_equally_long(
    chosen: Said, rejected: Said, longest: int, turns: int
) -> None:
    rejected = ((30, 66), *rejected[1:])
    rule = replace(RULE, max_segment_turns=longest)
    example = segment(group((rejected, 1), (chosen, 9)), rule)
    assert isinstance(example, Example)
    assert [sum(branch.loss_mask) for branch in example.branches] == [turns, turns]


def test_the_best_is_held_against_the_worst_wherever_they_are() -> None:
    example = segment(group((OTHER, 6), (SHORT, 2), (LONG, 9)), RULE)
    assert isinstance(example, Example)
    assert [branch.token_ids[0] for branch in example.branches] == [6, 3]


@pytest.mark.parametrize("critic", ["value", "llm"])
def test_a_located_error_is_the_rejected_side(critic: str) -> None:
    # Branch 1 is worse, but the critic has named the turn of branch 0, the original, as the error.
    branches = ((OTHER, 6), (SHORT, 2), (LONG, 9))
    example = segment(group(*branches, critic=critic), RULE)
    assert isinstance(example, Example)
    assert [branch.token_ids[0] for branch in example.branches] == [6, 4]
    best_itself = segment(group((OTHER, 9), (SHORT, 2), (LONG, 4), critic=critic), RULE)
    assert best_itself == Unpaired("no branch is better by the margin")


@pytest.mark.parametrize(("selected", "longest", "turns"), [(2, 3, 2), (4, 9, 4), (4, 3, 3)])
def test_the_critics_segment_is_taken_up_to_the_longest_allowed(
    selected: int, longest: int, turns: int
) -> None:
    rejected = ((30, 66), *LONG[1:])
    located = replace(group((rejected, 1), (LONG, 9), critic="llm"), segment_turns=selected)
    example = segment(located, replace(RULE, max_segment_turns=longest))
    assert isinstance(example, Example)
    assert [sum(branch.loss_mask) for branch in example.branches] == [turns, turns]
    alone = turn(located, RULE)
    assert isinstance(alone, Example)
    assert [sum(branch.loss_mask) for branch in alone.branches] == [1, 1]


def test_only_what_the_segment_holds_must_be_valid() -> None:
    located = group((OTHER, 1), (LONG, 9), critic="llm")
    slip = located.branches[1].episode
    turns = list(slip.turns)
    turns[6] = replace(turns[6], action=Action(ActionType.NONE, "", invalid="a slip"))  # the second
    better = replace(located.branches[1], episode=replace(slip, turns=tuple(turns)))
    located = replace(located, branches=(located.branches[0], better))
    assert segment(located, RULE) == Unpaired("the better branch holds an invalid act")
    assert isinstance(segment(replace(located, segment_turns=1), RULE), Example)


def test_near_ties_are_dropped() -> None:
    tie = Unpaired("no branch is better by the margin")
    assert segment(group((OTHER, 4), (LONG, 5.4)), RULE) == tie
    assert isinstance(segment(group((OTHER, 4), (LONG, 5.5)), RULE), Example)
    assert segment(group((OTHER, 4), (LONG, 4)), replace(RULE, margin=0)) == tie


def test_the_same_words_are_dropped() -> None:
    later = (*OTHER[:1], (41, 5), (50, 9))
    same = segment(group((OTHER, 1), (later, 9)), RULE)  # both turns of the segment are alike
    assert same == Unpaired("both segments are the same words")
    assert turn(group((((30, 3), (40, 4)), 1), (((30, 3), (40, 5)), 9)), RULE) == same


def test_pairs_that_part_after_the_branch_turn_are_dropped_on_request() -> None:
    later = (*OTHER[:1], (41, 7))  # as OTHER at the branch turn, and different in the next one
    rule = replace(RULE, differing_turn=True)
    assert isinstance(segment(group((OTHER, 1), (later, 9)), RULE), Example)
    same = segment(group((OTHER, 1), (later, 9)), rule)
    assert same == Unpaired("both sides do the same at the branch turn")
    assert isinstance(segment(group((OTHER, 1), (LONG, 9)), rule), Example)
    tie = Unpaired("no branch is better by the margin")
    assert segment(group((OTHER, 4), (OTHER, 4)), rule) == tie, "and not for its words"


def test_turn_pairs_are_one_turn_long() -> None:
    example = turn(group((OTHER, 4), (LONG, 9)), RULE)
    assert isinstance(example, Example)
    assert example.branches == (
        BranchTokens((6,), (True,), 1.0),
        BranchTokens((4,), (True,), 0.0),
    )


def test_win_rate_keeps_all_branches() -> None:
    probs = (0.2, 0.4, 0.9)
    example = win_rate(group((OTHER, 4), (SHORT, 5), (LONG, 9), win_probs=probs), RULE)
    assert isinstance(example, Example)
    assert [branch.win_prob for branch in example.branches] == list(probs)
    # Each as long as it is, three own turns at most.
    assert [sum(branch.loss_mask) for branch in example.branches] == [2, 1, 3]
    assert example.branches[2].token_ids == (6, 42, 7, 52, 8)
    assert win_rate(group((OTHER, 4), (SHORT, 4)), RULE) == Unpaired("all branches tie")


def test_what_is_dropped_is_counted() -> None:
    good = group((OTHER, 4), (LONG, 9))
    tie = group((OTHER, 4), (LONG, 4))
    same = group((OTHER, 1), (OTHER, 9))
    examples, drops = pair_up([tie, good, same, tie, good], filled("segment", RULE), goal)
    assert examples == [segment(good, RULE)] * 2
    assert drops == {
        "no branch is better by the margin": 2,
        "both segments are the same words": 1,
    }


@pytest.mark.parametrize("ends_with_other", [True, False])
def test_a_branch_may_end_with_either_side(ends_with_other: bool) -> None:
    base = group((OTHER, 4), (LONG, 9))
    last = episode("b1", (*START, *LONG), 9, ends_with_other)
    example = segment(replace(base, branches=(base.branches[0], last)), RULE)
    assert example == segment(base, RULE)


@pytest.mark.parametrize("seat", [0, 1])
@pytest.mark.parametrize("name", PAIRINGS)
def test_on_played_branches_the_stream_is_the_policys_own(name: str, seat: int) -> None:
    """For every seat and pairing: trunk + branch is what the engine saw and said, no more."""
    policy, experts = line_player(), ScriptedExperts()
    players = (policy, experts) if seat == 0 else (experts, policy)
    originals = play_lines(*(EpisodePlan(f"{n}", scenario(), players, n) for n in range(16)))
    paired = 0
    for original in originals:
        for at in own_turns(original.episode, seat):
            trunk = trunk_of(original, at)
            plans = [EpisodePlan(f"b{k}", scenario(), players, 100 + k, trunk) for k in range(3)]
            branches = (original, *play_lines(*plans))
            made = BranchGroup("g", seat, at, "random", "", branches, (0.0, 0.25, 0.5, 0.75))
            for played in branches:  # all share one trunk, whichever it is taken from
                assert trunk_ids(replace(made, branches=(played,))) == trunk_ids(made)
            example = by(name)(made, RULE)
            if isinstance(example, Unpaired):
                continue
            paired += 1
            streams = [stream_of(played, seat) for played in branches]
            for branch in example.branches:
                whole = example.trunk_ids + branch.token_ids
                mask = (False,) * len(example.trunk_ids) + branch.loss_mask
                assert len(branch.loss_mask) == len(branch.token_ids)
                assert any(_is_start(whole, mask, s, len(example.trunk_ids)) for s in streams)
    assert paired > 10


def _is_start(
    whole: Sequence[int], mask: Sequence[bool], stream: tuple[list[int], list[bool]], trunk: int
) -> bool:
    ids, said = stream
    n = len(whole)
    return list(whole) == ids[:n] and list(mask[trunk:]) == said[trunk:n]


@pytest.mark.parametrize(
    ("contrasts", "expected"),
    [
        (1, [(6, 2)]),  # the middle of each half: neither the luckiest nor the unluckiest
        (2, [(7, 3), (6, 2)]),
        (9, [(8, 4), (7, 3), (6, 2), (5, 1)]),
    ],
)
def test_without_a_located_error_halves_are_compared(
    contrasts: int, expected: list[tuple[int, int]]
) -> None:
    """Eight branches worth 1 to 8, whose first sampled token is their worth."""
    branches = [(((30, worth), (41, 5)), float(worth)) for worth in range(1, 9)]
    example = segment(group(*branches), replace(RULE, contrasts=contrasts))
    assert isinstance(example, Example)
    firsts = [side.token_ids[0] for side in example.branches]
    assert list(zip(firsts[0::2], firsts[1::2], strict=True)) == expected


def worths(*goals: float, critic: str = "random") -> BranchGroup:
    """Branches of one turn, whose only token is 1, 2, ... in their order, worth these goals."""
    branches = [(((30, k),), worth) for k, worth in enumerate(goals, start=1)]
    return group(*branches, critic=critic)


def firsts(example: Example | Unpaired) -> list[int]:
    """The first token of each side."""
    assert isinstance(example, Example)
    return [side.token_ids[0] for side in example.branches]


@pytest.mark.parametrize(
    ("sides", "contrasts", "expected"),
    [
        ("original", 1, [4, 1]),  # the best, 9, against the original, 5
        ("halves", 1, [1, 2]),  # the second of the better half against that of the worse
        ("extremes", 1, [4, 2]),
        ("extremes", 2, [4, 2, 1, 3]),
        ("located", 1, [1, 2]),
    ],
)
def test_which_sides_are_compared(sides: Sides, contrasts: int, expected: list[int]) -> None:
    rule = replace(RULE, sides=sides, contrasts=contrasts)
    assert firsts(segment(worths(5, 1, 3, 9), rule)) == expected


@pytest.mark.parametrize(("chosen", "rejected"), [(1, 3), (3, 1), (2, 3), (3, 2)])
def test_segments_of_unequal_length_are_cut_as_they_are_told(chosen: int, rejected: int) -> None:
    rule = replace(RULE, max_segment_turns=chosen, rejected_segment_turns=rejected)
    example = segment(group((((30, 66), *LONG[1:]), 1), (LONG, 9)), rule)
    assert isinstance(example, Example)
    assert [sum(side.loss_mask) for side in example.branches] == [chosen, rejected]


def test_lengths_that_are_told_to_be_equal_stay_so_when_a_branch_ends_early() -> None:
    rule = replace(RULE, max_segment_turns=3, rejected_segment_turns=3)
    example = segment(group((OTHER, 1), (LONG, 9)), rule)
    assert isinstance(example, Example)
    assert [sum(side.loss_mask) for side in example.branches] == [2, 2]


def test_sessions_are_as_long_as_they_are() -> None:
    example = session(group((OTHER, 1), (LONG, 9)), replace(RULE, max_segment_turns=1))
    assert isinstance(example, Example)
    assert [sum(side.loss_mask) for side in example.branches] == [4, 2]
    assert session(group((OTHER, 8), (LONG, 9)), RULE) == TIE


def test_a_step_is_rectified_and_verified() -> None:
    rule = replace(RULE, verified_goal=7)
    assert firsts(step(worths(3, 6.9, 7.5, 9), rule)) == [4, 1]
    assert firsts(step(worths(3, 6.9, 7.5), rule)) == [3, 1]
    assert step(worths(3, 6.9), rule) == Unpaired("no rectified turn was verified")
    assert step(worths(6.5, 7.5), rule) == TIE, "the original was hardly worse"
    long = step(group((OTHER, 1), (LONG, 9)), rule)
    assert isinstance(long, Example)
    assert [sum(side.loss_mask) for side in long.branches] == [1, 1]


def test_preferred_branches_are_the_chosen_sides_of_segments() -> None:
    for made in (group((OTHER, 4), (LONG, 9)), worths(5, 1, 3, 9)):
        pair = segment(made, RULE)
        assert isinstance(pair, Example)
        assert preferred(made, RULE) == replace(pair, branches=pair.branches[::2])
    assert preferred(worths(4, 4), RULE) == TIE


def test_good_and_bad_are_told_from_the_mean_of_the_group() -> None:
    # The mean is 5 and half a margin 0.75: 5.7 and 4.3 are neither.
    example = binary(worths(5.7, 4.3, 9, 1), RULE)
    assert isinstance(example, Example)
    assert [(s.token_ids[0], s.win_prob) for s in example.branches] == [(3, 1.0), (4, 0.0)]
    at_the_margin = binary(worths(5.75, 4.25), RULE)
    assert firsts(at_the_margin) == [1, 2], "a pair that is just told apart is so here"
    neither = Unpaired("no branch is good or bad by the margin")
    assert binary(worths(5.7, 4.3), RULE) == neither
    assert binary(worths(5, 5), replace(RULE, margin=0)) == neither


def test_good_branches_must_be_valid_and_bad_ones_need_not() -> None:
    made = worths(9, 1)
    slip = Action(ActionType.NONE, "", invalid="a slip")

    def slipped(played: PlayedEpisode) -> PlayedEpisode:
        turns = list(played.episode.turns)
        turns[4] = replace(turns[4], action=slip)
        return replace(played, episode=replace(played.episode, turns=tuple(turns)))

    both = replace(made, branches=tuple(map(slipped, made.branches)))
    assert firsts(binary(both, RULE)) == [2]


def test_the_best_and_the_worst_keep_their_win_rates() -> None:
    probs = (0.4, 0.9, 0.1, 0.1)
    made = replace(worths(1, 2, 3, 4), win_probs=probs)
    example = win_rate_pair(made, RULE)
    assert firsts(example) == [2, 3], "of equals the first"
    assert isinstance(example, Example)
    assert [side.win_prob for side in example.branches] == [0.9, 0.1]
    assert win_rate_pair(worths(1, 2), RULE) == Unpaired("all branches tie")


def test_experts_are_chosen_whatever_came_of_it() -> None:
    made = worths(9, 1, 2)  # the original, and two continuations by an expert
    assert firsts(expert(made, RULE)) == [2, 1]
    assert firsts(expert(made, replace(RULE, contrasts=5))) == [2, 1, 3, 1]
    alone = imitation(made, replace(RULE, contrasts=2))
    assert firsts(alone) == [2, 3]
    assert isinstance(alone, Example)
    assert {side.win_prob for side in alone.branches} == {1.0}


def test_accepted_candidates_are_a_sample_of_the_tilted_policy() -> None:
    """The first accepted one is drawn with probability proportional to exp(value / temperature)."""
    values, temperature = [0.0, 1.0, 2.0], 1.5
    rng = Random(0)
    counts = Counter(accept(values, 1, temperature, rng)[0] for _ in range(6000))
    weights = [math.exp(value / temperature) for value in values]
    for k, weight in enumerate(weights):
        assert counts[k] / 6000 == pytest.approx(weight / sum(weights), abs=0.02)


def test_candidates_are_accepted_once_each() -> None:
    for seed in range(20):
        found = accept([3.0, 1.0, 2.0, 9.0], 3, 2.0, Random(seed))
        assert len(found) == len(set(found)) == 3
    assert sorted(accept([1.0, 2.0], 5, 1.0, Random(0))) == [0, 1], "no more than there are"


def test_rejection_pairs_are_far_apart_and_the_same_each_time() -> None:
    made = worths(1, 3, 5, 7, 9, 2, 4, 6)
    examples = [rejection(replace(made, id=f"g{n}"), RULE) for n in range(30)]
    assert examples == [rejection(replace(made, id=f"g{n}"), RULE) for n in range(30)]
    worth = dict(enumerate((1, 3, 5, 7, 9, 2, 4, 6), start=1))
    pairs = [firsts(example) for example in examples if isinstance(example, Example)]
    assert len({tuple(pair) for pair in pairs}) > 5, "chance differs from group to group"
    for sides in pairs:
        assert len(sides) in (2, 4), "four of eight are accepted"
        for chosen, rejected in zip(sides[::2], sides[1::2], strict=True):
            assert worth[chosen] - worth[rejected] >= RULE.margin
