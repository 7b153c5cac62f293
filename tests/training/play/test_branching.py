"""Branching: what the critic probed becomes the branches, what cannot be compared is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from agents.base import Player
from agents.scripted import ScriptedExperts
from engines.batcher import Batcher
from envs.errors import BudgetError
from envs.types import Episode
from judges.base import Judge, Judgement
from judges.critics.base import Critic, DropKind, Dropped, Located, Selected, ValueProbe, own_turns
from judges.critics.measured import ValueCritic
from judges.critics.unmeasured import RandomCritic
from judges.pairwise import Comparison
from judges.verifiable import VerifiableJudge
from tests.training.lines import RULES, line_player, play_lines, scenario
from training.methods.records import PlayedEpisode
from training.methods.values import goal, scores_of
from training.play.branching import Branched, Brancher, Candidate, branch_wave
from training.play.rollout import EpisodePlan

POLICY, EXPERTS = line_player(), ScriptedExperts()
K, PROBES = 3, 2


@dataclass
class Scripted:
    """Probes the turns that it is told to, then names one of them or none."""

    probes: Callable[[Episode, int], tuple[int, ...]]
    turn: int | None
    selects: Selected | Dropped | None = None
    id: str = "scripted"
    values: list[tuple[int, float]] = field(default_factory=list)
    selected_from: list[tuple[Episode, Episode, int, int]] = field(default_factory=list)

    async def locate(self, episode: Episode, seat: int, values: ValueProbe) -> Located | Dropped:
        for turn in self.probes(episode, seat):
            self.values.append((turn, await values(turn)))
        if self.turn is None:
            return Dropped(DropKind.NO_ERROR, "all is well with this very episode")
        return Located(self.turn, "because", 1.0)

    async def select(
        self,
        worse: Episode,
        better: Episode,
        seat: int,
        turn: int,
        values: ValueProbe | None = None,
    ) -> Selected | Dropped | None:
        self.selected_from.append((worse, better, seat, turn))
        return self.selects


@dataclass
class Choosy:
    """Scores what it is told to and leaves the rest unscored."""

    scores: Callable[[Episode], bool]
    id: str = "choosy"
    version: str = "1"

    async def judge(self, episode: Episode) -> Judgement:
        if self.scores(episode):
            return await VerifiableJudge().judge(episode)
        return Judgement(self.id, self.version, (), ("no opinion",))


def brancher(judge: Judge | None = None) -> Brancher:
    return Brancher(
        players={player.id: player for player in (POLICY, EXPERTS)},
        rules=RULES,
        judge=judge or VerifiableJudge(),
        batcher=Batcher(),
        continuations=K,
        probes=PROBES,
        value=goal,
        margin=0.5,
        run_seed=0,
    )


def original(*players: Player, seed: int = 3, name: str = "1/collect/0") -> PlayedEpisode:
    """An episode of at least five turns."""
    for s in range(seed, seed + 100):
        (played,) = play_lines(EpisodePlan(name, scenario(), players or (POLICY, POLICY), s))
        if len(played.episode.turns) >= 5:
            return played
    raise AssertionError("these players never talk for long")


def branch(critic: Critic, *places: Candidate, using: Brancher | None = None) -> Branched:
    return branch_wave(using or brancher(), [(critic, place) for place in places])


def no_probes(episode: Episode, seat: int) -> tuple[int, ...]:
    return ()


def test_the_other_seat_samples_at_a_temperature_of_its_own_in_continuations_alone() -> None:
    cooler = {POLICY.id: POLICY.at(0.7), EXPERTS.id: EXPERTS}
    result = branch(
        Scripted(lambda episode, seat: (2,), turn=2),
        Candidate(original(), 0),
        using=replace(brancher(), partners=cooler),
    )
    (group,) = result.groups
    seen = set()
    for played in group.branches:
        for turn, made in zip(played.episode.turns, played.generations, strict=True):
            assert made is not None
            is_new = played is not group.branches[0] and turn.index >= 2
            assert made.sampling.temperature == (0.7 if is_new and turn.seat == 1 else 1.0)
            seen.add(made.sampling.temperature)
    assert seen == {0.7, 1.0}


def test_k_continuations_stand_beside_the_original() -> None:
    played = original()
    result = branch(Scripted(no_probes, turn=2), Candidate(played, 0))
    (group,) = result.groups
    assert (group.seat, group.turn, group.critic, group.reason) == (0, 2, "scripted", "because")
    assert group.branches[0] == played
    assert group.branches[1:] == tuple(result.episodes)
    assert len(result.episodes) == K
    for continuation in result.episodes:
        assert (continuation.parent_id, continuation.branch_turn) == (played.id, 2)
        assert continuation.episode.turns[:2] == played.episode.turns[:2]
        assert continuation.players == played.players
    assert not result.drops


def test_probes_become_branches() -> None:
    critic = Scripted(lambda episode, seat: (0, 2), turn=2)
    result = branch(critic, Candidate(original(), 0))
    (group,) = result.groups
    starts = [played.branch_turn for played in result.episodes]
    assert starts == [0] * PROBES + [2] * K, "of the K branches two were there already"
    assert group.branches[1:] == tuple(result.episodes[PROBES:])


def test_more_probes_than_continuations_do_not_widen_the_group() -> None:
    using = replace(brancher(), probes=K + 2)
    result = branch(
        Scripted(lambda episode, seat: (2,), turn=2), Candidate(original(), 0), using=using
    )
    assert len(result.episodes) == K + 2, "all that was played is kept"
    assert result.groups[0].branches[1:] == tuple(result.episodes[:K])


def test_probing_a_turn_changes_no_branch() -> None:
    place = Candidate(original(), 0)
    plain = branch(Scripted(no_probes, turn=2), place)
    probed = branch(Scripted(lambda episode, seat: (0, 2, 4), turn=2), place)
    assert plain.groups == probed.groups


def test_a_probe_is_the_mean_goal_of_its_continuations() -> None:
    played = original()
    end = len(played.episode.turns)
    critic = Scripted(lambda episode, seat: (1, 3, end), turn=1)
    result = branch(critic, Candidate(played, 1))
    for turn, value in critic.values[:2]:
        found = [p for p in result.episodes if p.branch_turn == turn][:PROBES]
        assert value == sum(scores_of(p, 1).goal for p in found) / PROBES
    assert critic.values[2] == (end, scores_of(played, 1).goal), "at the end nothing is sampled"
    assert {p.branch_turn for p in result.episodes} == {1, 3}


def test_win_probs_by_hand() -> None:
    played = original()
    name = f"{played.id}@2.0-scripted"
    worth = {played.id: 4.0, f"{name}#0": 4.3, f"{name}#1": 9.0, f"{name}#2": 1.0}
    using = replace(brancher(), value=lambda p, seat: worth[p.id])
    (group,) = branch(Scripted(no_probes, turn=2), Candidate(played, 0), using=using).groups
    assert group.preferences is None
    # 4.0 and 4.3 tie at a margin of 0.5; 9.0 beats all, 1.0 loses to all; each ties with itself.
    assert group.win_probs == (
        (0.5 + 0.5 + 0 + 1) / 4,
        (0.5 + 0.5 + 0 + 1) / 4,
        (1 + 1 + 0.5 + 1) / 4,
        (0 + 0 + 0 + 0.5) / 4,
    )


def test_ids_are_unique_and_each_place_gives_its_own_group() -> None:
    first, second = original(name="1/collect/0"), original(seed=50, name="1/collect/1")
    places = [Candidate(played, seat) for played in (first, second) for seat in (0, 1)]
    results = [branch(critic, *places) for critic in (RandomCritic(0), Scripted(no_probes, turn=3))]
    groups = [group for result in results for group in result.groups]
    episodes = [played for result in results for played in result.episodes]
    assert len({group.id for group in groups}) == len(groups) == 8
    assert len({played.id for played in episodes}) == len(episodes) == 8 * K
    assert [(g.branches[0].id, g.seat) for g in groups[:4]] == [
        (p.played.id, p.seat) for p in places
    ]
    assert len({played.seed for played in episodes}) == 8 * K


def test_the_company_in_a_wave_changes_nothing() -> None:
    places = [Candidate(original(seed=20 * n, name=f"{n}"), n % 2) for n in range(5)]
    together = branch(ValueCritic(min_drop=0.1), *places)
    alone = [branch(ValueCritic(min_drop=0.1), place) for place in places]
    assert together.groups == [group for result in alone for group in result.groups]
    assert together.episodes == [played for result in alone for played in result.episodes]
    assert together.groups, "the test needs some"


@pytest.mark.parametrize("seat", [0, 1])
def test_the_other_side_plays_on_as_who_it_was(seat: int) -> None:
    players = (POLICY, EXPERTS) if seat == 0 else (EXPERTS, POLICY)
    played = original(*players)
    (group,) = branch(RandomCritic(0), Candidate(played, seat)).groups
    assert {p.players for p in group.branches} == {played.players}
    assert group.turn in own_turns(played.episode, seat)


def test_what_the_critic_drops_is_counted() -> None:
    places = [Candidate(original(), seat) for seat in (0, 1)]
    result = branch(Scripted(lambda episode, seat: (0,), turn=None), *places)
    assert result.groups == []
    assert result.drops == {"scripted critic named no turn: it found no error": 2}
    assert len(result.episodes) == 2 * PROBES, "its probes are kept: they were paid for"


def test_unscored_branches_are_left_out() -> None:
    played = original()
    short = Choosy(lambda episode: len(episode.turns) < RULES.max_turns)
    result = branch(RandomCritic(0), Candidate(played, 0), using=brancher(short))
    scored = [p for p in result.episodes if p.judgement.is_scored]
    assert 0 < len(scored) < K, "the test needs both"
    (group,) = result.groups
    assert group.branches == (played, *scored)
    assert len(group.win_probs) == len(group.branches)


def test_a_group_needs_two_scored_branches() -> None:
    nothing = brancher(Choosy(lambda episode: False))
    result = branch(Scripted(no_probes, turn=2), Candidate(original(), 0), using=nothing)
    assert result.groups == []
    assert result.drops == {"fewer than two branches could be scored": 1}


def test_an_unscored_probe_is_no_value() -> None:
    nothing = brancher(Choosy(lambda episode: False))
    # Taken for 0, the first turn would seem to gain what the second one loses.
    result = branch(ValueCritic(min_drop=0.1), Candidate(original(), 0), using=nothing)
    assert result.groups == []
    ((reason, count),) = result.drops.items()
    assert reason.startswith("a value could not be estimated")
    assert count == 1


def test_no_places_no_groups() -> None:
    assert branch(RandomCritic(0)) == Branched()


WORTH = {"original": 4.0, "#0": 4.3, "#1": 9.0, "#2": 1.0}


def worth(played: PlayedEpisode, seat: int) -> float:
    """By what an id ends with, so that the second continuation is the best branch."""
    return WORTH.get(played.id[-2:], WORTH["original"])


SELECTING = replace(brancher(), value=worth, selects_segments=True)


def test_the_critic_selects_from_the_best_branch_and_the_original() -> None:
    played = original()
    critic = Scripted(no_probes, turn=2, selects=Selected(2, "Then it listened."))
    (group,) = branch(critic, Candidate(played, 0), using=SELECTING).groups
    assert (group.segment_turns, group.reason) == (2, "because Then it listened.")
    assert critic.selected_from == [(played.episode, group.branches[2].episode, 0, 2)]


@pytest.mark.parametrize(
    "using",
    [
        pytest.param(replace(SELECTING, selects_segments=False), id="not wanted"),
        pytest.param(replace(SELECTING, margin=6.0), id="nothing better by the margin"),
        pytest.param(replace(SELECTING, value=lambda p, s: -worth(p, s), margin=9), id="worse"),
    ],
)
def test_where_no_pair_comes_of_it_the_critic_is_not_asked_for_a_segment(using: Brancher) -> None:
    critic = Scripted(no_probes, turn=2, selects=Selected(2, "?"))
    (group,) = branch(critic, Candidate(original(), 0), using=using).groups
    assert (group.segment_turns, group.reason) == (None, "because")
    assert critic.selected_from == []


def test_a_critic_without_an_opinion_leaves_the_segment_open() -> None:
    critic = Scripted(no_probes, turn=2, selects=None)
    (group,) = branch(critic, Candidate(original(), 0), using=SELECTING).groups
    assert group.segment_turns is None
    assert len(critic.selected_from) == 1


def test_a_segment_that_could_not_be_told_is_counted() -> None:
    critic = Scripted(no_probes, turn=2, selects=Dropped(DropKind.INVALID_REPLY, "It said 'foo'."))
    result = branch(critic, Candidate(original(), 0), using=SELECTING)
    assert result.groups == []
    assert result.drops == {"scripted critic selected no segment: its model gave no valid reply": 1}
    assert len(result.episodes) == K, "they were paid for"


def test_a_teacher_continues_and_the_policy_is_probed() -> None:
    played = original()
    teacher = replace(EXPERTS, weights=(("keen", 1.0),))
    critic = Scripted(lambda episode, seat: (0, 2), turn=2)
    result = branch(critic, Candidate(played, 0), using=replace(brancher(), teacher=teacher))
    (group,) = result.groups
    assert len(group.branches) == 1 + K
    assert {p.players for p in group.branches[1:]} == {(teacher.id, played.players[1])}
    probes = [p for p in result.episodes if p not in group.branches]
    assert len(probes) == 2 * PROBES
    assert {p.players for p in probes} == {played.players}
    assert len({p.id for p in result.episodes}) == len(result.episodes)


def test_the_value_critic_looks_at_the_better_branch_from_where_it_is() -> None:
    wanted = replace(SELECTING, value=goal, margin=0.1)
    places = [Candidate(original(seed=20 * n, name=f"{n}"), n % 2) for n in range(8)]
    result = branch(ValueCritic(min_drop=0.1), *places, using=wanted)
    selected = [group for group in result.groups if group.segment_turns is not None]
    assert selected, "the test needs some"
    for found in selected:
        values = [goal(p, found.seat) for p in found.branches]
        best = found.branches[values.index(max(values))]
        own = own_turns(best.episode, found.seat, since=found.turn)
        assert 1 <= (found.segment_turns or 0) <= len(own)
        looked = [p for p in result.episodes if p.parent_id == best.id]
        assert {p.branch_turn for p in looked} <= set(own[1:])
        for continuation in looked:
            shared = continuation.branch_turn or 0
            assert continuation.episode.turns[:shared] == best.episode.turns[:shared]
    plain = branch(
        ValueCritic(min_drop=0.1), *places, using=replace(wanted, selects_segments=False)
    )
    assert [g.branches for g in plain.groups] == [g.branches for g in result.groups]


@dataclass
class Opinions:
    """Says of pairs of branches, in the order in which it is asked, which one wins."""

    answers: list[float | None]
    id: str = "opinions"
    version: str = "1"

    async def compare(self, first: Episode, second: Episode, seat: int, turn: int) -> Comparison:
        assert first.turns[:turn] == second.turns[:turn]
        assert first.turns[turn].seat == seat
        return Comparison(self.answers.pop(0), "", samples=2, flips=1)


def told_apart() -> Candidate:
    """A place from whose third turn all four branches differ."""
    for seed in range(0, 2000, 100):
        place = Candidate(original(seed=seed, name=f"{seed}"), 0)
        (group,) = branch(Scripted(no_probes, turn=2), place).groups
        if len({played.episode.turns for played in group.branches}) == K + 1:
            return place
    raise AssertionError("these players always say the same")


def test_win_probs_are_the_pairwise_judges_where_there_is_one() -> None:
    # Pairs 01 02 03 12 13 23: 0 beats 1, 1 beats 2, 2 beats 0 (a cycle), and all of them beat 3.
    judge = Opinions([1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    using = replace(brancher(), preference=judge)
    (group,) = branch(Scripted(no_probes, turn=2), told_apart(), using=using).groups
    assert group.win_probs == (2.5 / 4, 2.5 / 4, 2.5 / 4, 0.5 / 4)
    assert group.preferences is not None
    assert group.preferences.matrix[2] == (1.0, 0.0, 0.5, 1.0)
    assert (group.preferences.samples, group.preferences.flips) == (12, 6)


def test_a_group_with_too_many_unscored_pairs_is_dropped() -> None:
    place, critic = told_apart(), Scripted(no_probes, turn=2)
    answers: list[float | None] = [None, 1.0, 1.0, 1.0, 1.0, 1.0]
    using = replace(brancher(), preference=Opinions(list(answers)), max_unscored_share=1 / 6)
    (group,) = branch(critic, place, using=using).groups
    assert group.win_probs[0] == 2.5 / 3, "of the three that are known"

    answers[1] = None
    using = replace(brancher(), preference=Opinions(list(answers)), max_unscored_share=1 / 6)
    result = branch(critic, place, using=using)
    assert result.groups == []
    assert result.drops == {"too many pairs of branches could not be compared": 1}

    alone: list[float | None] = [None, None, None, 1.0, 1.0, 1.0]  # nobody met the original
    using = replace(brancher(), preference=Opinions(alone), max_unscored_share=0.9)
    assert branch(critic, place, using=using).groups == []


def test_an_empty_purse_leaves_no_branching_running_behind() -> None:
    @dataclass
    class Broke(Scripted):
        going_on: bool = False

        async def locate(
            self, episode: Episode, seat: int, values: ValueProbe
        ) -> Located | Dropped:
            if seat == 1:
                raise BudgetError("$0.00 are left.")
            await asyncio.sleep(0.01)
            self.going_on = True
            return Located(0, "", 0.0)

    critic = Broke(no_probes, turn=2)
    with asyncio.Runner() as loop:
        using = replace(brancher(), run=loop.run)
        with pytest.raises(BudgetError, match="are left"):
            branch(critic, Candidate(original(), 0), Candidate(original(), 1), using=using)
        loop.run(asyncio.sleep(0.03))
    assert not critic.going_on
