"""Rollouts: each episode is a coroutine; all of a wave run together and are scored as they end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypeVar

from agents.base import Agent, Listener, Player, Seat
from engines.batcher import Batcher
from engines.event_loop import run_to_end
from engines.types import Generation
from envs.errors import PromptError, RemoteError
from envs.social import Rules, SocialState, replay
from envs.types import Scenario, Turn
from judges.base import Judge, unanswered
from training.methods.records import PlayedEpisode


@dataclass(frozen=True, slots=True)
class Trunk:
    """The beginning that a branch shares with its parent episode.

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
    """An episode to be played. The same plan and weights give the same episode."""

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


T = TypeVar("T")
RunLoop = Callable[[Coroutine[Any, Any, T]], T]
"""Runs a coroutine to its end: `run_to_end`, or an `EventLoop` that keeps connections open."""


def play_wave(
    plans: Sequence[EpisodePlan],
    rules: Rules,
    judge: Judge,
    batcher: Batcher,
    *,
    run: RunLoop[list[PlayedEpisode]] = run_to_end,
) -> list[PlayedEpisode]:
    """Play episodes side by side, in the order given; each is judged as soon as it ends."""

    async def together() -> list[PlayedEpisode]:
        return await batcher.play([play(plan, rules, judge, batcher) for plan in plans])

    return run(together())


async def play(plan: EpisodePlan, rules: Rules, judge: Judge, batcher: Batcher) -> PlayedEpisode:
    """Play one episode, from its start or from the end of its trunk, and have it judged.

    Failures of models behind APIs, and prompts that are too long for a model that is loaded here,
    are recorded here and nowhere else: such an episode is kept as far as it went, unscored. The
    other episodes play on while this one is judged.
    """
    trunk = plan.trunk
    # A branch keeps its parent's random order: other words there, but nobody else's turn.
    order_seed = trunk.persona if trunk else plan.seed
    state = replay(plan.scenario, rules, trunk.turns if trunk else (), order_seed)
    generations: list[Generation | None] = list(trunk.generations) if trunk else []
    agents = _seated(plan, state)
    try:
        await _act_out(state, agents, generations)
    except (RemoteError, PromptError) as error:
        episode = state.abandon()
        judgement = unanswered(judge, error, f"Not played to its end: {error}")
    else:
        episode = state.episode()
        with batcher.detached():
            judgement = await judge.judge(episode)
    for agent in agents:
        if isinstance(agent, Listener):
            agent.ended(episode, judgement.reasons)
    return PlayedEpisode(
        id=plan.id,
        episode=episode,
        players=tuple(player.id for player in plan.players),
        generations=tuple(generations),
        seed=plan.seed,
        judgement=judgement,
        parent_id=trunk.parent_id if trunk else None,
        branch_turn=len(trunk.turns) if trunk else None,
    )


async def judge_again(played: PlayedEpisode, judge: Judge, batcher: Batcher) -> PlayedEpisode:
    """The same episode with another judgement."""
    with batcher.detached():
        return replace(played, judgement=await judge.judge(played.episode))


async def _act_out(
    state: SocialState, agents: Sequence[Agent], generations: list[Generation | None]
) -> None:
    """Let the agents act until the episode ends; generations stay aligned with its turns."""
    while state.to_act:
        moves = {seat: await agents[seat].act(state.observe(seat)) for seat in state.to_act}
        state.step({seat: move.action for seat, move in moves.items()})
        generations.extend(move.generation for move in moves.values())


def _seated(plan: EpisodePlan, state: SocialState) -> list[Agent]:
    trunk = plan.trunk
    persona = trunk.persona if trunk else plan.seed
    return [
        player.sit(
            Seat(
                state.observe(seat).view,
                plan.scenario.task,
                seed=seat_seed(plan.seed, seat),
                persona=seat_seed(persona, seat),
                past=_own(trunk, seat),
            )
        )
        for seat, player in enumerate(plan.players)
    ]


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
