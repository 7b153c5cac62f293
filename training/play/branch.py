"""The branching phase of an iteration: critics choose branch points until there are enough."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from judges.base import Scores
from judges.critics.base import CRITICS, Critic
from training.config import BranchConfig
from training.config.play import CriticConfig
from training.methods.records import BranchGroup, PlayedEpisode
from training.methods.values import scores_of
from training.play.branching import Branched, Brancher, Candidate, branch_wave
from training.play.collect import sampled_tokens
from training.play.context import BRANCH, POLICY, PlayContext
from training.play.waves import Progress

_CANDIDATES_A_WAVE = 128
"""Of one critic."""
_FIRST_POINTS = 32
"""Where tokens are counted: what shows how many tokens a point takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchPlan:
    """How an iteration branches.

    Attributes:
        critics: each critic that has a share of the branch points, with that share in (0, 1].
        brancher: how continuations are played and compared.
    """

    critics: tuple[tuple[Critic, float], ...]
    brancher: Brancher


@dataclass(slots=True)
class Branches:
    """The groups of an iteration, and how many tokens models sampled for them."""

    groups: list[BranchGroup] = field(default_factory=list)
    tokens: int = 0


def branch(
    context: PlayContext,
    plan: BranchPlan,
    iteration: int,
    episodes: Sequence[PlayedEpisode],
    progress: Progress,
) -> Branches:
    """Have each critic choose its share of the branch points, and play on from them.

    With a token budget, points are added until it is spent, each critic keeping its share: a few
    first, then as many as the rest of the budget will take at the price of those.
    """
    config, found = context.config.branch, Branches()
    queues = [
        _CriticQueue(critic, share, _candidates(context, iteration, episodes, critic.id))
        for critic, share in plan.critics
    ]
    points = wave = 0
    while points < config.points and (config.tokens is None or found.tokens < config.tokens):
        points = min(_points_to_reach(points, found.tokens, config), config.points)
        while chunk := [pair for queue in queues for pair in queue.towards(points)]:
            done = _branch_wave_in_store(context, plan.brancher, iteration, wave, chunk)
            found.groups += done.groups
            found.tokens += done.tokens
            for queue in queues:
                queue.found += sum(group.critic == queue.critic.id for group in done.groups)
            wave += 1
            if config.tokens is None:
                progress(len(found.groups), config.points)
            else:
                progress(min(found.tokens, config.tokens), config.tokens)
    return found


def _points_to_reach(points: int, spent: int, config: BranchConfig) -> int:
    """How many branch points there should be next, where `points` took `spent` tokens."""
    if config.tokens is None:
        return config.points
    if spent == 0:
        return points + _FIRST_POINTS
    return points + math.ceil((config.tokens - spent) * points / spent)


@dataclass(slots=True)
class _CriticQueue:
    """One critic, the candidates that are left for it, and how many groups it has given so far."""

    critic: Critic
    share: float
    candidates: Sequence[Candidate]
    start: int = 0
    found: int = 0

    def towards(self, points: int) -> list[tuple[Critic, Candidate]]:
        """The next candidates of a wave, as long as the critic lacks some of its share."""
        size = min(round(self.share * points) - self.found, _CANDIDATES_A_WAVE)
        chunk = self.candidates[self.start : self.start + max(0, size)]
        self.start += len(chunk)
        return [(self.critic, candidate) for candidate in chunk]


def _branch_wave_in_store(
    context: PlayContext,
    brancher: Brancher,
    iteration: int,
    wave: int,
    chunk: Sequence[tuple[Critic, Candidate]],
) -> Branches:
    """Branch one wave, or read it back where the store has it."""
    store = context.run.store
    if store.wave_done(BRANCH, iteration, wave):
        played = store.episodes(BRANCH, iteration, wave)
        return Branches(store.groups(iteration, wave), sampled_tokens(played))
    done: Branched = branch_wave(brancher, chunk)
    with store.wave(BRANCH, iteration, wave) as transaction:
        transaction.add_episodes(done.episodes)
        transaction.add_groups(done.groups)
        transaction.add_drops("branch", done.drops)
    return Branches(done.groups, sampled_tokens(done.episodes))


def _candidates(
    context: PlayContext, iteration: int, episodes: Sequence[PlayedEpisode], critic_id: str
) -> list[Candidate]:
    """Where a critic may look: the policy's seats; for located errors, of poor episodes only."""
    everywhere = CRITICS[critic_id].everywhere
    config = context.config.critic
    candidates = [
        Candidate(played, seat)
        for played in episodes
        for seat, player in enumerate(played.players)
        if player == POLICY and played.judgement.is_scored
        if everywhere or is_poor(config, scores_of(played, seat))
    ]
    Random(f"places/{context.config.seed}/{iteration}/{critic_id}").shuffle(candidates)
    limit = None if everywhere else config.poor_per_seat
    return candidates if limit is None else few_of_each(candidates, limit)


def is_poor(config: CriticConfig, scores: Scores) -> bool:
    """Whether a seat did so poorly that its error is looked for; always without `poor_goal`."""
    limit = config.poor_goal
    if limit is None or scores.goal < limit:
        return True
    if config.poor_at_most and scores.goal == limit:
        return True
    floor = config.poor_relationship
    return floor is not None and scores.relationship <= floor


def few_of_each(candidates: Sequence[Candidate], limit: int) -> list[Candidate]:
    """The first `limit` candidates of each scene and seat, in their order.

    A scene stays the same one with other characters, or under another number of its draw.
    """
    seen: Counter[tuple[object, ...]] = Counter()
    kept = []
    for candidate in candidates:
        scenario = candidate.played.episode.scenario
        place = (scenario.family, scenario.context, scenario.goals, candidate.seat)
        seen[place] += 1
        if seen[place] <= limit:
            kept.append(candidate)
    return kept
