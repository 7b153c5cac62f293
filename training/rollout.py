"""Playing episodes: one coroutine each, all of a wave alive together, scored as they end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from agents.base import Player
from engines.rendezvous import Rendezvous
from engines.types import Generation
from envs.social import Rules, replay
from envs.types import Scenario, Turn
from judges.base import Judge
from training.records import PlayedEpisode


@dataclass(frozen=True, slots=True)
class Trunk:
    """The shared beginning of a branch.

    Attributes:
        turns, generations: the parent's, up to the branch turn.
        persona: the parent's seed, so that both sides stay who they were.
    """

    parent_id: str
    turns: tuple[Turn, ...]
    generations: tuple[Generation | None, ...]
    persona: int


@dataclass(frozen=True, slots=True)
class EpisodePlan:
    """An episode that is to be played: the same plan and weights give the same episode."""

    id: str
    scenario: Scenario
    players: tuple[Player, ...]
    seed: int
    trunk: Trunk | None = None


def trunk_of(played: PlayedEpisode, turn: int) -> Trunk:
    """The history of `played` before transcript turn `turn`."""
    return Trunk(
        parent_id=played.id,
        turns=played.episode.turns[:turn],
        generations=played.generations[:turn],
        persona=played.seed,
    )


def play_wave(
    plans: Sequence[EpisodePlan], rules: Rules, judge: Judge, rendezvous: Rendezvous
) -> list[PlayedEpisode]:
    """Play episodes side by side, in the order given; each is judged as soon as it ends."""

    async def run() -> list[PlayedEpisode]:
        return await rendezvous.play([play(plan, rules, judge) for plan in plans])

    return asyncio.run(run())


async def play(plan: EpisodePlan, rules: Rules, judge: Judge) -> PlayedEpisode:
    """Play one episode, from its start or from the end of its trunk, and have it judged."""
    trunk = plan.trunk
    state = replay(plan.scenario, rules, trunk.turns if trunk else (), plan.seed)
    generations: list[Generation | None] = list(trunk.generations) if trunk else []
    persona = trunk.persona if trunk else plan.seed
    agents = [
        player.sit(
            state.observe(seat).view,
            plan.scenario.task,
            seed=seat_seed(plan.seed, seat),
            persona=seat_seed(persona, seat),
            past=_own(trunk, seat),
        )
        for seat, player in enumerate(plan.players)
    ]
    while state.to_act:
        moves = {seat: await agents[seat].act(state.observe(seat)) for seat in state.to_act}
        state.step({seat: move.action for seat, move in moves.items()})
        generations.extend(move.generation for move in moves.values())
    episode = state.episode()
    return PlayedEpisode(
        id=plan.id,
        episode=episode,
        players=tuple(player.id for player in plan.players),
        generations=tuple(generations),
        seed=plan.seed,
        judgement=await judge.judge(episode),
        parent_id=trunk.parent_id if trunk else None,
        branch_turn=len(trunk.turns) if trunk else None,
    )


def seat_seed(seed: int, seat: int) -> int:
    """A seat's own seed within an episode, 63 bits."""
    return Random(f"seat/{seed}/{seat}").getrandbits(63)


def episode_seed(run_seed: int, *place: object) -> int:
    """An episode's seed from the run's and its place in it (phase, iteration, number), 63 bits."""
    return Random("/".join(map(str, (run_seed, *place)))).getrandbits(63)


def _own(trunk: Trunk | None, seat: int) -> tuple[Generation, ...]:
    if trunk is None:
        return ()
    pairs = zip(trunk.turns, trunk.generations, strict=True)
    return tuple(made for turn, made in pairs if turn.seat == seat and made is not None)
