"""Branching: a critic chooses a turn of an episode, and K continuations are played from there.

The probes of a critic that measures values are continuations, too: those from the chosen turn are
reused as branches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from agents.base import Player
from engines.batcher import Batcher
from engines.event_loop import run_to_end
from engines.gather import together
from envs.social import Rules
from judges.base import Judge
from judges.critics.base import Critic, Dropped, Located, Selected
from judges.pairwise import PairwiseJudge, Preferences, ask_all_pairs, preference_matrix, win_probs
from training.methods.records import BranchGroup, PlayedEpisode
from training.methods.values import Value
from training.play.rollout import EpisodePlan, RunLoop, episode_seed, play, trunk_of

_BLIND = "a value could not be estimated, for no continuation could be scored"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An episode and a seat, from one of whose turns it may be continued again."""

    played: PlayedEpisode
    seat: int


@dataclass(frozen=True, slots=True)
class Brancher:
    """How continuations are played and compared.

    Attributes:
        players: every player by its id, for both seats of any episode.
        partners: who takes the other seat in continuations, by the same ids; None: as in `players`.
        continuations: K, continuations beside the original.
        probes: continuations that estimate one value for a critic that asks.
        value: what makes a branch better; branches closer than `margin` tie in the win rates.
        preference: the judge that compares branches for the win rates; None: their values decide.
        max_unscored_share: a group of which a larger share of the pairs of branches could not be
            compared is dropped, in [0, 1).
        selects_segments: whether the critic is asked how much of the best branch to learn from.
        teacher: takes the seat in the continuations that become branches; None: the player that
            held it in the original, which also plays all probes of critics.
        run: runs a wave to its end.
    """

    players: Mapping[str, Player]
    rules: Rules
    judge: Judge
    batcher: Batcher
    continuations: int
    probes: int
    value: Value
    margin: float
    run_seed: int
    preference: PairwiseJudge | None = None
    max_unscored_share: float = 0.25
    selects_segments: bool = False
    teacher: Player | None = None
    partners: Mapping[str, Player] | None = None
    run: RunLoop[list[_Branching]] = run_to_end


@dataclass(slots=True)
class Branched:
    """The result of a wave of candidates: groups, all episodes played for them, drops by reason."""

    groups: list[BranchGroup] = field(default_factory=list)
    episodes: list[PlayedEpisode] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)


def branch_wave(brancher: Brancher, chosen: Sequence[tuple[Critic, Candidate]]) -> Branched:
    """Let each critic look at its candidate, and play on from the turn that it chooses."""

    async def run() -> list[_Branching]:
        works = [_Branching(brancher, critic, candidate) for critic, candidate in chosen]
        await together(work.run() for work in works)
        return works

    result = Branched()
    for work in brancher.run(run()):
        result.episodes += [played for turn in sorted(work.played) for played in work.played[turn]]
        result.episodes += work.taught
        result.episodes += [played for turn in sorted(work.looked) for played in work.looked[turn]]
        if work.group is not None:
            result.groups.append(work.group)
        else:
            result.drops[work.dropped] += 1
    return result


class _Branching:
    """One candidate being branched: its continuations by the turn that they start from."""

    def __init__(self, brancher: Brancher, critic: Critic, candidate: Candidate) -> None:
        self._brancher, self._critic, self._candidate = brancher, critic, candidate
        self.played: dict[int, list[PlayedEpisode]] = {}
        self.taught: list[PlayedEpisode] = []
        self.looked: dict[int, list[PlayedEpisode]] = {}
        self.group: BranchGroup | None = None
        self.dropped = ""
        self._blind = False

    async def run(self) -> None:
        grouped = await self._group()
        if isinstance(grouped, BranchGroup):
            self.group = grouped
        else:
            self.dropped = grouped

    async def _group(self) -> BranchGroup | str:
        """The group of this candidate, or the reason why there is none."""
        candidate, brancher = self._candidate, self._brancher
        named = await self._critic.locate(candidate.played.episode, candidate.seat, self._probe)
        if self._blind:
            return _BLIND
        if isinstance(named, Dropped):
            return f"{self._critic.id} critic named no turn: {named.kind}"
        branches = [candidate.played, *await self._continuations(named.turn)]
        scored = tuple(played for played in branches if played.judgement.is_scored)
        if len(scored) < 2:
            return "fewer than two branches could be scored"
        values = [brancher.value(played, candidate.seat) for played in scored]
        selected = await self._select(named, scored, values)
        if self._blind:
            return _BLIND
        if isinstance(selected, Dropped):
            return f"{self._critic.id} critic selected no segment: {selected.kind}"
        preferences = await self._prefer(named, scored)
        if preferences is not None and _too_few(preferences, brancher.max_unscored_share):
            return "too many pairs of branches could not be compared"
        matrix = (
            preference_matrix(values, brancher.margin)
            if preferences is None
            else preferences.matrix
        )
        return BranchGroup(
            id=self._name(named.turn),
            seat=candidate.seat,
            turn=named.turn,
            critic=self._critic.id,
            reason=f"{named.reason} {selected.reason}" if selected else named.reason,
            branches=scored,
            win_probs=win_probs(matrix),
            segment_turns=selected.own_turns if selected else None,
            preferences=preferences,
        )

    async def _select(
        self, named: Located, branches: Sequence[PlayedEpisode], values: Sequence[float]
    ) -> Selected | Dropped | None:
        """How much of the best branch to learn from, if it is compared with the original."""
        brancher, best = self._brancher, max(range(len(values)), key=values.__getitem__)
        is_original_scored = branches[0] is self._candidate.played
        is_better = 0 < values[best] - values[0] >= brancher.margin
        if not (brancher.selects_segments and is_original_scored and is_better):
            return None
        better = branches[best]
        return await self._critic.select(
            branches[0].episode,
            better.episode,
            self._candidate.seat,
            named.turn,
            partial(self._probe_branch, named.turn, better),
        )

    async def _prefer(
        self, named: Located, branches: Sequence[PlayedEpisode]
    ) -> Preferences | None:
        judge = self._brancher.preference
        if judge is None:
            return None
        episodes = [played.episode for played in branches]
        return await ask_all_pairs(judge, episodes, self._candidate.seat, named.turn)

    async def _probe(self, turn: int) -> float:
        """The mean value over continuations from before `turn`; at the end, the real one.

        An error is what costs value as the pairing understands it: judged by the seat's goal alone,
        every acceptance of a middling offer would look like one.
        """
        candidate, value = self._candidate, self._brancher.value
        if turn == len(candidate.played.episode.turns):
            return value(candidate.played, candidate.seat)
        await self._continue(turn, self._brancher.probes)
        return self._mean(self.played[turn])

    async def _probe_branch(self, branch_turn: int, branch: PlayedEpisode, turn: int) -> float:
        """The mean value from before `turn` of a branch, which shares what is before it."""
        if turn == branch_turn:
            if turn not in self.played:  # the branches are a teacher's
                await self._continue(turn, self._brancher.probes)
            return self._mean(self.played[turn])
        if turn == len(branch.episode.turns):
            return self._brancher.value(branch, self._candidate.seat)
        names = [f"{branch.id}@{turn}#{k}" for k in range(self._brancher.probes)]
        self.looked[turn] = await self._play(branch, turn, names, self._players())
        return self._mean(self.looked[turn])

    def _mean(self, played: Sequence[PlayedEpisode]) -> float:
        scored = [p for p in played if p.judgement.is_scored]
        self._blind = self._blind or not scored
        return sum(self._brancher.value(p, self._candidate.seat) for p in scored) / max(
            1, len(scored)
        )

    def _name(self, turn: int) -> str:
        return f"{self._candidate.played.id}@{turn}.{self._candidate.seat}-{self._critic.id}"

    async def _continuations(self, turn: int) -> list[PlayedEpisode]:
        """The K continuations from `turn` that become branches."""
        count, teacher = self._brancher.continuations, self._brancher.teacher
        if teacher is None:
            await self._continue(turn, count - len(self.played.get(turn, [])))
            return self.played[turn][:count]
        players = list(self._players())
        players[self._candidate.seat] = teacher
        names = [f"{self._name(turn)}#taught{k}" for k in range(count)]
        self.taught = await self._play(self._candidate.played, turn, names, players)
        return self.taught

    async def _continue(self, turn: int, count: int) -> None:
        done = self.played.setdefault(turn, [])
        names = [f"{self._name(turn)}#{k}" for k in range(len(done), len(done) + count)]
        done += await self._play(self._candidate.played, turn, names, self._players())

    def _players(self) -> Sequence[Player]:
        own, partners = self._brancher.players, self._brancher.partners or self._brancher.players
        return [
            (own if seat == self._candidate.seat else partners)[player]
            for seat, player in enumerate(self._candidate.played.players)
        ]

    async def _play(
        self, parent: PlayedEpisode, turn: int, names: Sequence[str], players: Sequence[Player]
    ) -> list[PlayedEpisode]:
        brancher = self._brancher
        # A branch of a branch, too, is played by those who sat down in the original.
        trunk = replace(trunk_of(parent, turn), persona=self._candidate.played.seed)
        plans = [
            EpisodePlan(
                id=name,
                scenario=parent.episode.scenario,
                players=tuple(players),
                seed=episode_seed(brancher.run_seed, name),
                trunk=trunk,
            )
            for name in names
        ]
        return await brancher.batcher.play(
            [play(plan, brancher.rules, brancher.judge, brancher.batcher) for plan in plans]
        )


def _too_few(preferences: Preferences, max_unscored_share: float) -> bool:
    return not preferences.is_usable or preferences.unscored_share > max_unscored_share
