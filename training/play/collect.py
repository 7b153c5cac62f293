"""Collecting: the policy plays training scenarios against the configured mixture of partners."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from agents.demonstrator import WRITTEN
from training.methods.records import PlayedEpisode
from training.play.context import BRANCH, POLICY, SELF, PlayContext
from training.play.rollout import EpisodePlan, episode_seed
from training.play.waves import Progress, play_in_waves


def collect(context: PlayContext, iteration: int, progress: Progress) -> list[PlayedEpisode]:
    """Play training scenarios against the configured mixture of partners."""
    config = context.config
    count = config.collect.episodes
    scenarios = config.env.draw("train", count, start=(iteration - 1) * count)
    names, weights = zip(*config.partner.weights.items(), strict=True)
    players = context.actors()
    plans = []
    for n, scenario in enumerate(scenarios):
        seed = episode_seed(config.seed, "collect", iteration, n)
        rng = Random(f"seats/{seed}")
        partner = rng.choices(names, weights)[0]
        seats = (POLICY, POLICY if partner == SELF else partner)
        order = seats if rng.random() < 0.5 else seats[::-1]
        plans.append(EpisodePlan(str(n), scenario, tuple(players[name] for name in order), seed))
    was_branched = context.run.store.wave_done(BRANCH, iteration, 0)
    return play_in_waves(context, "collect", iteration, plans, progress, mends=not was_branched)


def sampled_tokens(episodes: Iterable[PlayedEpisode]) -> int:
    """How many tokens models sampled in these episodes, trunks and written turns not counted."""
    return sum(
        len(made.token_ids)
        for played in episodes
        for made in played.generations[played.branch_turn or 0 :]
        if made is not None and not made.weights_version.startswith(WRITTEN)
    )


def constraint_nats(episodes: Iterable[PlayedEpisode]) -> dict[str, float]:
    """How far constrained decoding moved the policy's turns: their mean in nats, if there are any.

    See `Completion.constraint_nats`.
    """
    moved = [
        made.constraint_nats
        for played in episodes
        for turn, made in zip(played.episode.turns, played.generations, strict=True)
        if played.players[turn.seat] == POLICY
        and made is not None
        and made.constraint_nats is not None
    ]
    return {"constraint_nats": sum(moved) / len(moved)} if moved else {}
