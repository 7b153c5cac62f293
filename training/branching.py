"""Branching: a critic names a turn of an episode, and the policy plays on from there K times more.

The value critic's probes are continuations too: those at the turn that it names become branches, so
that nothing is played twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agents.base import Player
from engines.rendezvous import Rendezvous
from envs.social import Rules
from judges.base import Judge
from judges.critics import Critic, Dropped, Located
from judges.pairwise import preference_matrix, win_probs
from training.records import BranchGroup, PlayedEpisode
from training.rollout import EpisodePlan, RunLoop, episode_seed, play, trunk_of
from training.values import Value


@dataclass(frozen=True, slots=True)
class Place:
    """An episode that may be played again from one of the seat's turns."""

    played: PlayedEpisode
    seat: int


@dataclass(frozen=True, slots=True)
class Brancher:
    """Everything that branching needs, fixed for one iteration.

    Attributes:
        players: by id, for both seats of any place.
        continuations: K, continuations beside the original.
        probes: continuations that estimate one value for a critic that asks.
        value: what makes a branch better, and `margin` how close a tie is, for the win rates.
    """

    players: Mapping[str, Player]
    rules: Rules
    judge: Judge
    rendezvous: Rendezvous
    continuations: int
    probes: int
    value: Value
    margin: float
    run_seed: int
    run: RunLoop[list[_Branching]] = asyncio.run


@dataclass(slots=True)
class Branched:
    """What came of a wave of places: groups, all episodes played for them, what was dropped."""

    groups: list[BranchGroup] = field(default_factory=list)
    episodes: list[PlayedEpisode] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)


def branch_wave(brancher: Brancher, critic: Critic, places: Sequence[Place]) -> Branched:
    """Have the critic look at each place and play on from the turns that it names."""

    async def run() -> list[_Branching]:
        works = [_Branching(brancher, critic, place) for place in places]
        await asyncio.gather(*(work.run() for work in works))
        return works

    result = Branched()
    for work in brancher.run(run()):
        result.episodes += [played for turn in sorted(work.played) for played in work.played[turn]]
        if work.group is not None:
            result.groups.append(work.group)
        else:
            result.drops[work.dropped] += 1
    return result


class _Branching:
    """One place under way: continuations by the turn that they start from."""

    def __init__(self, brancher: Brancher, critic: Critic, place: Place) -> None:
        self._brancher, self._critic, self._place = brancher, critic, place
        self.played: dict[int, list[PlayedEpisode]] = {}
        self.group: BranchGroup | None = None
        self.dropped = ""
        self._blind = False

    async def run(self) -> None:
        place, brancher = self._place, self._brancher
        named = await self._critic.locate(place.played.episode, place.seat, self._probe)
        if self._blind:
            self.dropped = "a value could not be estimated, for no continuation could be scored"
            return
        if isinstance(named, Dropped):
            self.dropped = f"{self._critic.id} critic named no turn"
            return
        have = self.played.get(named.turn, [])
        await self._continue(named.turn, brancher.continuations - len(have))
        branches = [place.played, *self.played[named.turn][: brancher.continuations]]
        scored = tuple(played for played in branches if played.judgement.is_scored)
        if len(scored) < 2:
            self.dropped = "fewer than two branches could be scored"
            return
        self.group = self._grouped(named, scored)

    def _grouped(self, named: Located, branches: tuple[PlayedEpisode, ...]) -> BranchGroup:
        place, brancher = self._place, self._brancher
        values = [brancher.value(played, place.seat) for played in branches]
        return BranchGroup(
            id=self._name(named.turn),
            seat=place.seat,
            turn=named.turn,
            critic=self._critic.id,
            reason=named.reason,
            branches=branches,
            win_probs=win_probs(preference_matrix(values, brancher.margin)),
        )

    async def _probe(self, turn: int) -> float:
        """The mean value over continuations from before `turn`; at the end, the real one.

        An error is what costs value as the pairing understands it: judged by the seat's goal alone,
        every acceptance of a middling offer would look like one.
        """
        place, value = self._place, self._brancher.value
        if turn == len(place.played.episode.turns):
            return value(place.played, place.seat)
        await self._continue(turn, self._brancher.probes)
        scored = [played for played in self.played[turn] if played.judgement.is_scored]
        self._blind = self._blind or not scored
        return sum(value(p, place.seat) for p in scored) / max(1, len(scored))

    def _name(self, turn: int) -> str:
        return f"{self._place.played.id}@{turn}.{self._place.seat}-{self._critic.id}"

    async def _continue(self, turn: int, count: int) -> None:
        brancher, original = self._brancher, self._place.played
        done = self.played.setdefault(turn, [])
        plans = []
        for k in range(len(done), len(done) + count):
            name = f"{self._name(turn)}#{k}"
            plans.append(
                EpisodePlan(
                    id=name,
                    scenario=original.episode.scenario,
                    players=tuple(brancher.players[player] for player in original.players),
                    seed=episode_seed(brancher.run_seed, name),
                    trunk=trunk_of(original, turn),
                )
            )
        done += await brancher.rendezvous.play(
            [play(plan, brancher.rules, brancher.judge, brancher.rendezvous) for plan in plans]
        )
