"""The steps of an iteration, each of them safe to be stopped and begun again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from transformers import PreTrainedModel

from agents.base import Player
from agents.written import WRITTEN
from envs.types import Scenario
from judges.critic_base import Critic
from training.branching import Branched, Brancher, Place, branch_wave
from training.config import BranchConfig
from training.evaluate import SELF, Outcome, evaluation_plans, statistics
from training.furnish import Parts
from training.learning.low_rank import low_rank
from training.learning.reference import consult
from training.learning.update import UpdateReport, steps_of, update
from training.objectives import NEEDS
from training.pairings import pair_up
from training.rollout import EpisodePlan, episode_seed
from training.schedules import move_average
from training.setting import NAMED, POLICY, Setting
from training.storage.records import BranchGroup, Example, PlayedEpisode
from training.values import goal
from training.waves import Progress, play_in_waves

_BRANCH = "branch"
_PLACES_A_WAVE = 128
"""Of one critic."""
_FIRST_POINTS = 32
"""Where tokens are counted: what shows how many tokens a point takes."""


def collect(parts: Parts, iteration: int, progress: Progress) -> list[PlayedEpisode]:
    """Play training scenarios against the configured mixture of partners."""
    config = parts.config
    count = config.collect.episodes
    scenarios = config.env.draw("train", count, start=(iteration - 1) * count)
    names, weights = zip(*config.partner.weights.items(), strict=True)
    players = _actors(parts)
    plans = []
    for n, scenario in enumerate(scenarios):
        seed = episode_seed(config.seed, "collect", iteration, n)
        rng = Random(f"seats/{seed}")
        partner = rng.choices(names, weights)[0]
        seats = (POLICY, POLICY if partner == SELF else partner)
        order = seats if rng.random() < 0.5 else seats[::-1]
        plans.append(EpisodePlan(str(n), scenario, tuple(players[name] for name in order), seed))
    return play_in_waves(parts, "collect", iteration, plans, progress)


def _actors(parts: Parts) -> dict[str, Player]:
    """Who plays while data is collected, by role."""
    if parts.collector is None:
        return parts.players
    return parts.players | {POLICY: parts.collector.player}


@dataclass(slots=True)
class Grown:
    """The groups of an iteration, and how many tokens models sampled for them."""

    groups: list[BranchGroup] = field(default_factory=list)
    tokens: int = 0


def branch(
    parts: Parts, iteration: int, episodes: Sequence[PlayedEpisode], progress: Progress
) -> Grown:
    """Have each critic choose its share of the branch points, and play on from them.

    Where tokens are counted, points are added until these are spent, each critic keeping its share
    of them: a few first, then as many as the rest will take by what the others took.
    """
    config, grown = parts.config.branch, Grown()
    lookouts = [
        _Lookout(critic, share, _places(parts, iteration, episodes, critic.id))
        for critic, share in parts.critics
    ]
    points = wave = 0
    while points < config.points and (config.tokens is None or grown.tokens < config.tokens):
        points = min(_points_to_reach(points, grown.tokens, config), config.points)
        while looks := [look for lookout in lookouts for look in lookout.towards(points)]:
            done = _branch_in_store(parts, iteration, wave, looks)
            grown.groups += done.groups
            grown.tokens += done.tokens
            for lookout in lookouts:
                lookout.found += sum(group.critic == lookout.critic.id for group in done.groups)
            wave += 1
            if config.tokens is None:
                progress(len(grown.groups), config.points)
            else:
                progress(min(grown.tokens, config.tokens), config.tokens)
    return grown


def _points_to_reach(points: int, spent: int, config: BranchConfig) -> int:
    """How many branch points there should be next, where `points` took `spent` tokens."""
    if config.tokens is None:
        return config.points
    if spent == 0:
        return points + _FIRST_POINTS
    return points + math.ceil((config.tokens - spent) * points / spent)


@dataclass(slots=True)
class _Lookout:
    """One critic, the places that it may look at, how far it has come and what it found."""

    critic: Critic
    share: float
    places: Sequence[Place]
    start: int = 0
    found: int = 0

    def towards(self, points: int) -> list[tuple[Critic, Place]]:
        """The next places of a wave, as long as the critic lacks some of its share of `points`."""
        size = min(round(self.share * points) - self.found, _PLACES_A_WAVE)
        chunk = self.places[self.start : self.start + max(0, size)]
        self.start += len(chunk)
        return [(self.critic, place) for place in chunk]


def sampled_tokens(episodes: Iterable[PlayedEpisode]) -> int:
    """How many tokens models sampled in these episodes, trunks and written turns not counted."""
    return sum(
        len(made.token_ids)
        for played in episodes
        for made in played.generations[played.branch_turn or 0 :]
        if made is not None and not made.weights_version.startswith(WRITTEN)
    )


def _branch_in_store(
    parts: Parts, iteration: int, wave: int, looks: Sequence[tuple[Critic, Place]]
) -> Grown:
    store = parts.run.store
    if store.wave_done(_BRANCH, iteration, wave):
        played = store.episodes(_BRANCH, iteration, wave)
        return Grown(store.groups(iteration, wave), sampled_tokens(played))
    done: Branched = branch_wave(_brancher(parts), looks)
    with store.wave(_BRANCH, iteration, wave) as transaction:
        transaction.add_episodes(done.episodes)
        transaction.add_groups(done.groups)
        transaction.add_drops("branch", done.drops)
    return Grown(done.groups, sampled_tokens(done.episodes))


def _brancher(parts: Parts) -> Brancher:
    config = parts.config
    return Brancher(
        players={player.id: player for player in _actors(parts).values()},
        rules=parts.rules,
        judge=parts.judge,
        rendezvous=parts.rendezvous,
        continuations=config.branch.continuations,
        probes=config.branch.probes,
        value=parts.rule.value,
        margin=parts.rule.margin,
        run_seed=config.seed,
        preference=parts.preference,
        selects_segments=config.critic.selects_segments
        and config.pairing.name in ("segment", "preferred"),
        teacher=parts.teacher,
        run=parts.loop.run,
    )


def _places(
    parts: Parts, iteration: int, episodes: Sequence[PlayedEpisode], critic_id: str
) -> list[Place]:
    """Where a critic may look: the policy's seats; for located errors, of poor episodes only."""
    poor_goal = None if critic_id == "random" else parts.config.critic.poor_goal
    places = [
        Place(played, seat)
        for played in episodes
        for seat, player in enumerate(played.players)
        if player == POLICY and played.judgement.is_scored
        if poor_goal is None or goal(played, seat) < poor_goal
    ]
    Random(f"places/{parts.config.seed}/{iteration}/{critic_id}").shuffle(places)
    return places


def pair(parts: Parts, iteration: int, groups: Sequence[BranchGroup]) -> list[Example]:
    """Turn groups into examples, count what is dropped, and keep both in the store."""
    examples, drops = pair_up(groups, parts.pairing, parts.rule)
    store = parts.run.store
    if not store.wave_done("pair", iteration, 0):
        with store.wave("pair", iteration, 0) as transaction:
            transaction.add_examples(examples)
            transaction.add_drops("pair", drops)
    return examples


def improve(
    parts: Parts,
    iteration: int,
    examples: Sequence[Example],
    progress: Progress,
    reference: PreTrainedModel,
) -> UpdateReport | None:
    """Update the policy in place; engines sleep until `publish`, unless others play meanwhile.

    Args:
        reference: what the policy is held to, `held_to` at the beginning.

    Returns:
        None, and the policy as it was, when there is nothing to learn from.
    """
    if not parts.config.collect.ahead:
        parts.engines.sleep()
    report = _update(parts, iteration, examples, progress, reference) if examples else None
    if parts.average is not None:
        move_average(parts.average, parts.model, parts.config.reference.decay or 0.0)
    return report


def held_to(parts: Parts) -> PreTrainedModel:
    """The reference that the schedule names, for the iteration that was collected last."""
    schedule = parts.config.reference.schedule
    if schedule == "bc":
        return parts.clone
    if schedule == "collected" and parts.collector is not None:
        return parts.collector.model
    return parts.average or parts.model


def _update(
    parts: Parts,
    iteration: int,
    examples: Sequence[Example],
    progress: Progress,
    held_to: PreTrainedModel,
) -> UpdateReport:
    config = parts.config
    reference = consult(
        held_to,
        examples,
        token_budget=config.update.token_budget,
        need=NEEDS.get(config.objective.name),
        anchor=parts.clone,
        precision=config.update.precision,
        device=parts.model.device,
    )
    steps = steps_of(len(examples), config.update)
    seed = episode_seed(config.seed, "update", iteration)
    with low_rank(parts.model, config.lora, seed=seed) as factor:
        rate = config.update.learning_rate * factor
        report = update(
            parts.model,
            reference,
            examples,
            objective=parts.objective,
            config=replace(config.update, learning_rate=rate),
            seed=seed,
            on_step=lambda report: progress(report.step + 1, steps),
            state=parts.objective_state,
        )
    parts.objective_state = report.state
    return report


def trainer_state(parts: Parts, iteration: int) -> dict[str, object]:
    """What a checkpoint keeps beside the weights, so that a resumed run ends in the same ones."""
    state = dict(parts.objective_state)
    return {"iteration": iteration} | ({"objective": state} if state else {})


def evaluate(
    setting: Setting,
    name: str,
    policy: Player,
    scenarios: Sequence[Scenario],
    iteration: int,
    progress: Progress,
    *,
    both_seats: bool = False,
    episodes: int = 1,
) -> dict[str, Outcome]:
    """Play held-out scenarios against each partner; outcomes by its role or model."""
    outcomes: dict[str, Outcome] = {}
    for role in setting.partners:
        sparring = policy if role == SELF else setting.players[role]
        partner = sparring.id if role in NAMED else role
        plans, seats = evaluation_plans(
            policy,
            sparring,
            partner,
            scenarios,
            seed=setting.config.seed,
            both_seats=both_seats,
            episodes=episodes,
        )
        played = play_in_waves(setting, f"evaluate-{name}-{partner}", iteration, plans, progress)
        outcomes[partner] = Outcome(tuple(played), seats)
    return outcomes


def curve_point(parts: Parts, iteration: int, progress: Progress) -> dict[str, Any]:
    """The policy's statistics on a few dev scenarios, for the learning curves."""
    count = parts.config.evaluation.curve_scenarios
    scenarios = parts.config.env.draw("dev", count)
    outcomes = evaluate(parts, "curve", parts.players[POLICY], scenarios, iteration, progress)
    return {
        partner: statistics(outcome, seed=parts.config.seed)
        for partner, outcome in outcomes.items()
    }
