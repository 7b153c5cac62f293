"""Critics that measure nothing: the start of a session, and a turn drawn by chance."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from random import Random

from engines.models import Resources
from envs.registry import NoOptions
from envs.types import Episode
from judges.critics.base import Critic, Dropped, Located, ValueProbe, critic, no_turn, own_turns


@critic("start")
@dataclass(frozen=True, slots=True)
class StartCritic(Critic):
    """Names the seat's first own turn, from which a branch is a session of its own (ETO, DMPO).

    It selects no segment: a session is taken whole.
    """

    @property
    def id(self) -> str:
        return "start"

    async def locate(self, episode: Episode, seat: int, values: ValueProbe) -> Located | Dropped:
        """Look for the first own turn; `values` is not asked."""
        turns = own_turns(episode, seat)
        if not turns:
            return no_turn(seat)
        reason = f"Turn {turns[0]} is the first one of seat {seat}."
        return Located(turn=turns[0], reason=reason, drop=0.0)


@dataclass(frozen=True, slots=True)
class RandomCritic(Critic):
    """Names any own turn, each as likely as the other: the control that biases no contrast.

    The choice depends on the seed, the scenario, the seat and what happened, so that the same
    episode is branched at the same turn wherever and whenever it is looked at.
    """

    seed: int

    @property
    def id(self) -> str:
        return "random"

    async def locate(self, episode: Episode, seat: int, values: ValueProbe) -> Located | Dropped:
        """Draw a turn; `values` is not asked."""
        turns = own_turns(episode, seat)
        if not turns:
            return no_turn(seat)
        turn = Random(self._digest(episode, seat)).choice(turns)
        reason = f"Turn {turn} was drawn at random from the {len(turns)} turns of seat {seat}."
        return Located(turn=turn, reason=reason, drop=0.0)

    def _digest(self, episode: Episode, seat: int) -> int:
        """A seed from stable text; `hash` would change from process to process."""
        turns = [
            (turn.seat, turn.action.type.value, turn.action.argument) for turn in episode.turns
        ]
        text = repr((self.seed, episode.scenario.id, seat, turns))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


@critic("random", everywhere=True)
def random_critic(options: NoOptions, resources: Resources) -> RandomCritic:
    """Any own turn of any episode, each as likely as the other."""
    return RandomCritic(resources.seed)
