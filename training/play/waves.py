"""Waves: fixed chunks of episodes, each stored in one transaction as soon as it is played.

A wave is a fixed chunk of the work, so that a run that was stopped batches the rest as it would
have been batched anyway, and ends in the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from envs.types import EndReason
from training.methods.records import PlayedEpisode
from training.play.context import PlayContext
from training.play.rollout import EpisodePlan, judge_again, play, play_wave

Progress = Callable[[int, int], None]
"""Called with the amount of work that is done and the amount that there is."""


def play_in_waves(
    context: PlayContext,
    phase: str,
    iteration: int,
    plans: Sequence[EpisodePlan],
    progress: Progress,
    *,
    mends: bool = True,
) -> list[PlayedEpisode]:
    """Play the episodes that are not in the store yet; return all, in the order of the plans.

    Args:
        mends: whether episodes in the store that failed because a server did are played or judged
            again; not where later work was built on them.

    Raises:
        OutageError: a model behind an API failed for a whole wave, which is then not stored.
    """
    size, store = context.config.env.wave, context.run.store
    played: list[PlayedEpisode] = []
    for wave, start in enumerate(range(0, len(plans), size)):
        chunk = [_prefixed(plan, phase, iteration) for plan in plans[start : start + size]]
        if store.wave_done(phase, iteration, wave):
            done = store.episodes(phase, iteration, wave)
            if mends:
                done = _mended(context, chunk, done)
        else:
            done = play_wave(
                chunk, context.rules, context.judge, context.batcher, run=context.run_wave
            )
            with store.wave(phase, iteration, wave) as transaction:
                transaction.add_episodes(done)
        played += done
        progress(len(played), len(plans))
    return played


def _mended(
    context: PlayContext, plans: Sequence[EpisodePlan], stored: list[PlayedEpisode]
) -> list[PlayedEpisode]:
    """The episodes of a stored wave; what a server's failure left unscored is tried again."""
    plan_of = {plan.id: plan for plan in plans}
    failed = {one.id: one for one in stored if one.judgement.may_pass and one.id in plan_of}
    if not failed:
        return stored
    rules, judge, batcher = context.rules, context.judge, context.batcher

    async def again() -> list[PlayedEpisode]:
        return await batcher.play([
            play(plan_of[one.id], rules, judge, batcher)
            if one.episode.end is EndReason.FAILED
            else judge_again(one, judge, batcher)
            for one in failed.values()
        ])  # fmt: skip

    done = {one.id: one for one in context.run_wave(again())}
    context.run.store.replace_unscored(list(done.values()))
    return [done.get(one.id, one) for one in stored]


def _prefixed(plan: EpisodePlan, phase: str, iteration: int) -> EpisodePlan:
    return EpisodePlan(
        f"{iteration}/{phase}/{plan.id}", plan.scenario, plan.players, plan.seed, plan.trunk
    )
