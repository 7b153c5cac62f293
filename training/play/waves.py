"""Waves: fixed chunks of episodes, each stored in one transaction as soon as it is played.

A wave is a fixed chunk of the work, so that a run that was stopped batches the rest as it would
have been batched anyway, and ends in the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from training.methods.records import PlayedEpisode
from training.play.context import PlayContext
from training.play.rollout import EpisodePlan, play_wave

Progress = Callable[[int, int], None]
"""Called with the amount of work that is done and the amount that there is."""


def play_in_waves(
    context: PlayContext,
    phase: str,
    iteration: int,
    plans: Sequence[EpisodePlan],
    progress: Progress,
) -> list[PlayedEpisode]:
    """Play the episodes that are not in the store yet; return all, in the order of the plans."""
    size, store = context.config.env.wave, context.run.store
    played: list[PlayedEpisode] = []
    for wave, start in enumerate(range(0, len(plans), size)):
        if store.wave_done(phase, iteration, wave):
            played += store.episodes(phase, iteration, wave)
        else:
            chunk = [_prefixed(plan, phase, iteration) for plan in plans[start : start + size]]
            done = play_wave(
                chunk, context.rules, context.judge, context.batcher, run=context.loop.run
            )
            with store.wave(phase, iteration, wave) as transaction:
                transaction.add_episodes(done)
            played += done
        progress(len(played), len(plans))
    return played


def _prefixed(plan: EpisodePlan, phase: str, iteration: int) -> EpisodePlan:
    return EpisodePlan(
        f"{iteration}/{phase}/{plan.id}", plan.scenario, plan.players, plan.seed, plan.trunk
    )
