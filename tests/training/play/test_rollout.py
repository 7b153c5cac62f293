"""Playing: a plan decides its episode, a branch goes on from its trunk, errors come out whole."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.base import Agent, Move, Player, Seat
from agents.scripted import ScriptedExperts
from envs.errors import EngineError, PromptError, RemoteError
from envs.types import Action, ActionType, EndReason, Observation
from judges.verifiable import VerifiableJudge
from tests.training.lines import line_player, play_lines, scenario
from training.methods.records import PlayedEpisode
from training.play.rollout import EpisodePlan, episode_seed, seat_seed, trunk_of

POLICY, EXPERTS = line_player(), ScriptedExperts()


class Witness:
    """Sits down like another player and writes down what it was told."""

    def __init__(self, inner: Player) -> None:
        self._inner = inner
        self.told: list[dict[str, object]] = []

    @property
    def id(self) -> str:
        return self._inner.id

    def sit(self, seat: Seat) -> Agent:
        told = {"seat": seat.view.seat, "seed": seat.seed, "persona": seat.persona}
        self.told.append({**told, "past": seat.past})
        return self._inner.sit(seat)


def plan(name: str = "a", seed: int = 1, *players: Player) -> EpisodePlan:
    return EpisodePlan(name, scenario(), players or (POLICY, EXPERTS), seed)


def play_one(one: EpisodePlan) -> PlayedEpisode:
    (played,) = play_lines(one)
    return played


@given(st.integers(0, 2**63 - 1))
def test_a_plan_decides_its_episode(seed: int) -> None:
    one = plan("a", seed, POLICY, POLICY)
    assert play_one(one) == play_one(one)


def test_seeds_make_episodes_differ() -> None:
    played = play_lines(*(plan("a", seed, POLICY, POLICY) for seed in range(20)))
    assert len({p.episode.turns for p in played}) > 10


def test_the_company_in_a_wave_changes_nothing() -> None:
    plans = [plan(f"{n}", n) for n in range(8)]
    together = play_lines(*plans)
    assert [p.id for p in together] == [str(n) for n in range(8)]
    assert together == [play_one(one) for one in plans]
    assert together == play_lines(*plans[::-1])[::-1]


def test_an_episode_is_recorded_and_judged() -> None:
    played = play_one(plan("name", 5))
    assert (played.id, played.seed) == ("name", 5)
    assert played.players == ("policy", EXPERTS.id)
    assert (played.parent_id, played.branch_turn) == (None, None)
    for turn, made in zip(played.episode.turns, played.generations, strict=True):
        assert (made is not None) == (turn.seat == 0)
    assert played.judgement == asyncio.run(VerifiableJudge().judge(played.episode))
    assert played.judgement.is_scored


def test_what_the_judge_cannot_score_is_unscored() -> None:
    (played,) = play_lines(EpisodePlan("a", scenario(task=None), (POLICY, POLICY), 0))
    assert not played.judgement.is_scored
    assert "no task" in played.judgement.reasons[0]


@pytest.mark.parametrize("players", [(POLICY, EXPERTS), (EXPERTS, POLICY), (POLICY, POLICY)])
def test_a_branch_goes_on_from_its_trunk(players: tuple[Player, Player]) -> None:
    original = max(play_lines(*(plan("o", n, *players) for n in range(9))), key=_length)
    for turn in range(_length(original)):
        trunk = trunk_of(original, turn)
        witnesses = [Witness(player) for player in players]
        (branch,) = play_lines(EpisodePlan("b", scenario(), tuple(witnesses), 77, trunk))
        assert branch.episode.turns[:turn] == original.episode.turns[:turn]
        assert branch.generations[:turn] == original.generations[:turn]
        assert (branch.parent_id, branch.branch_turn) == ("o", turn)
        assert branch.seed == 77
        for seat, witness in enumerate(witnesses):
            own = [
                made
                for t, made in zip(trunk.turns, trunk.generations, strict=True)
                if t.seat == seat and made is not None
            ]
            (told,) = witness.told
            assert told == {
                "seat": seat,
                "seed": seat_seed(77, seat),  # new choices ...
                "persona": seat_seed(original.seed, seat),  # ... of the same character
                "past": tuple(own),
            }
        # What the seat to act is told there is what it was told in the original, token by token.
        made, again = original.generations[turn], branch.generations[turn]
        assert (made is None) == (again is None)
        if made is not None and again is not None:
            assert again.context_ids == made.context_ids


def _length(played: PlayedEpisode) -> int:
    return len(played.episode.turns)


def test_a_branch_with_the_seed_of_its_trunk_is_the_original() -> None:
    original = play_one(plan("o", 3))
    again = play_one(replace(plan("o", 3), trunk=trunk_of(original, 1)))
    assert again.episode == original.episode
    assert again.generations == original.generations


def test_seats_and_places_have_seeds_of_their_own() -> None:
    # Written out: a run that was begun with one release is resumed with the next.
    assert episode_seed(0, "collect", 1, 2) == 5511630994575458509
    assert seat_seed(5, 0) == 9073079666895124045
    places = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 11), (0, "a", 1, 1)]
    assert len({episode_seed(*place) for place in places} | {seat_seed(0, 0), seat_seed(0, 1)}) == 7


class Troublemaker:
    """Speaks, and at its second turn makes trouble."""

    id = "troublemaker"

    def __init__(self, trouble: BaseException | None) -> None:
        self._trouble = trouble

    def sit(self, seat: Seat) -> Agent:
        return self

    async def act(self, observation: Observation) -> Move:
        if len(observation.turns) > 1:
            if self._trouble is None:
                signal.raise_signal(signal.SIGINT)
                await asyncio.sleep(60)  # until the interrupt arrives
            else:
                raise self._trouble
        return Move(Action(ActionType.SPEAK, "i like zoo"))


def test_an_error_comes_out_as_itself() -> None:
    bad = Troublemaker(EngineError("too long"))
    with pytest.raises(EngineError, match="too long"):
        play_lines(plan("a"), plan("b", 2, bad, bad), plan("c"))


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (RemoteError("no answer after 8 attempts", may_pass=True), True),
        (RemoteError("no answer after 8 attempts"), False),
        (PromptError("no answer after 8 attempts"), False),
    ],
)
def test_a_model_that_falls_silent_fails_its_own_episode_alone(
    error: Exception, passes: bool
) -> None:
    silent = Troublemaker(error)
    fine, failed, also_fine = play_lines(plan("a"), plan("b", 2, silent, silent), plan("c"))
    assert failed.episode.end is EndReason.FAILED
    assert len(failed.episode.turns) == len(failed.generations) == 2  # kept as far as it went
    assert not failed.judgement.is_scored
    assert failed.judgement.reasons == ("Not played to its end: no answer after 8 attempts",)
    assert failed.judgement.may_pass is passes
    assert [fine, also_fine] == play_lines(plan("a"), plan("c"))


@pytest.fixture
def keyboard() -> Iterator[None]:
    """Python's own handling of Ctrl-C, which a parent in the background may have switched off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("keyboard")
def test_the_keyboard_stops_a_wave() -> None:
    stop = Troublemaker(None)
    with pytest.raises(KeyboardInterrupt):
        play_lines(plan("a"), plan("b", 2, stop, stop), plan("c"))


def test_no_plans_no_episodes() -> None:
    assert play_lines() == []
