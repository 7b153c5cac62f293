"""The steps of an iteration, each of them safe to be stopped and begun again."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from agents.base import Player
from envs.types import Scenario
from training.branching import Branched, Brancher, Place, branch_wave
from training.evaluate import SELF, Outcome, evaluation_plans, statistics
from training.furnish import Parts
from training.objectives import NEEDS
from training.pairing import pair_up
from training.records import BranchGroup, Example, PlayedEpisode
from training.reference import consult
from training.rollout import EpisodePlan, episode_seed
from training.setting import NAMED, POLICY, Setting
from training.update import UpdateReport, update
from training.values import goal
from training.waves import Progress, play_in_waves

_PLACES_A_WAVE = 64


def collect(parts: Parts, iteration: int, progress: Progress) -> list[PlayedEpisode]:
    """Play training scenarios against the configured mixture of partners."""
    config = parts.config
    count = config.collect.episodes
    scenarios = config.env.draw("train", count, start=(iteration - 1) * count)
    names, weights = zip(*config.partner.weights.items(), strict=True)
    plans = []
    for n, scenario in enumerate(scenarios):
        seed = episode_seed(config.seed, "collect", iteration, n)
        rng = Random(f"seats/{seed}")
        partner = rng.choices(names, weights)[0]
        seats = (POLICY, POLICY if partner == SELF else partner)
        players = seats if rng.random() < 0.5 else seats[::-1]
        plans.append(
            EpisodePlan(str(n), scenario, tuple(parts.players[name] for name in players), seed)
        )
    return play_in_waves(parts, "collect", iteration, plans, progress)


def branch(
    parts: Parts, iteration: int, episodes: Sequence[PlayedEpisode], progress: Progress
) -> list[BranchGroup]:
    """Have each critic choose its share of the branch points, and play on from them."""
    config = parts.config
    groups: list[BranchGroup] = []
    for critic, share in parts.critics:
        wanted = len(groups) + round(share * config.branch.points)
        places = _places(parts, iteration, episodes, critic.id)
        for wave, start in enumerate(range(0, len(places), _PLACES_A_WAVE)):
            missing = wanted - len(groups)
            if missing <= 0:
                break
            chunk = places[start : start + min(_PLACES_A_WAVE, missing)]
            groups += _branch_in_store(parts, iteration, critic.id, wave, chunk)
            progress(len(groups), config.branch.points)
    return groups


def _branch_in_store(
    parts: Parts, iteration: int, critic_id: str, wave: int, places: Sequence[Place]
) -> list[BranchGroup]:
    phase, store = f"branch-{critic_id}", parts.run.store
    if not store.wave_done(phase, iteration, wave):
        critic = next(critic for critic, _ in parts.critics if critic.id == critic_id)
        done: Branched = branch_wave(_brancher(parts), critic, places)
        with store.wave(phase, iteration, wave) as transaction:
            transaction.add_episodes(done.episodes)
            transaction.add_groups(done.groups)
            transaction.add_drops("branch", done.drops)
        return done.groups
    return [group for group in store.groups(iteration, wave) if group.critic == critic_id]


def _brancher(parts: Parts) -> Brancher:
    config = parts.config
    return Brancher(
        players={player.id: player for player in parts.players.values()},
        rules=parts.rules,
        judge=parts.judge,
        rendezvous=parts.rendezvous,
        continuations=config.branch.continuations,
        probes=config.branch.probes,
        value=parts.rule.value,
        margin=parts.rule.margin,
        run_seed=config.seed,
        preference=parts.preference,
        selects_segments=config.critic.selects_segments and config.pairing.name == "segment",
        run=parts.loop.run,
    )


def _places(
    parts: Parts, iteration: int, episodes: Sequence[PlayedEpisode], critic_id: str
) -> list[Place]:
    """Where a critic may look: the policy's seats; for located errors, of poor episodes only."""
    poor_goal = parts.config.critic.poor_goal
    places = [
        Place(played, seat)
        for played in episodes
        for seat, player in enumerate(played.players)
        if player == POLICY and played.judgement.is_scored
        if critic_id == "random" or poor_goal is None or goal(played, seat) < poor_goal
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
    parts: Parts, iteration: int, examples: Sequence[Example], progress: Progress
) -> UpdateReport | None:
    """Update the policy in place, held to the reference that the schedule names.

    Returns:
        None, and the policy as it was, when there is nothing to learn from.
    """
    if not examples:
        return None
    config = parts.config
    held_to = parts.model if config.reference.schedule == "iteration" else parts.clone
    reference = consult(
        held_to,
        examples,
        token_budget=config.update.token_budget,
        need=NEEDS.get(config.objective.name),
        anchor=parts.clone,
    )
    steps = -(-len(examples) // config.update.batch_examples) * config.update.epochs
    report = update(
        parts.model,
        reference,
        examples,
        objective=parts.objective,
        config=config.update,
        seed=episode_seed(config.seed, "update", iteration),
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
