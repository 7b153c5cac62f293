"""The context of play: the players, the judge and the store that every phase of a run shares."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from agents.base import Player
from engines.batcher import Batcher
from engines.event_loop import EventLoop
from envs.social import Rules
from judges.base import Judge
from training.config import RunConfig
from training.play.collector import Collector
from training.play.engines import Engines
from training.play.remote import Remote
from training.storage.run import Run

T = TypeVar("T")

BRANCH = "branch"
"""The phase in which episodes are branched."""

SELF = "self"
POLICY, FROZEN, EXPERTS, STUBBORN = "policy", "frozen_bc", "experts", "stubborn"
MODEL, CHECKPOINT = "model", "checkpoint"
NAMED = (MODEL, CHECKPOINT)
"""Partners whose results are shown under the name of their model, and not under their role."""


@dataclass(slots=True, kw_only=True)
class PlayContext:
    """The players, the judge and the services that collecting, branching and evaluating share.

    Attributes:
        batcher: where the requests of all live episodes are batched.
        loop: the one event loop of the run, which keeps connections open; closed with the run.
        engines: the engines of all models that are loaded here.
        players: every player by role: the policy, its frozen copy, experts and other partners.
        partners: the roles that policies are evaluated against; "self" is the policy itself.
        remote: models behind APIs; None where the run calls none.
        collector: plays in the policy's place while data is collected; None: the policy itself.
        notes: what the configuration asked for and this run does without, in sentences.
    """

    config: RunConfig
    run: Run
    batcher: Batcher
    loop: EventLoop
    engines: Engines
    rules: Rules
    players: dict[str, Player]
    partners: tuple[str, ...]
    judge: Judge
    remote: Remote | None = None
    collector: Collector | None = None
    notes: tuple[str, ...] = ()

    def run_wave(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a wave to its end.

        Raises:
            OutageError: a model behind an API failed for all of it.
        """
        with self.remote.watched() if self.remote else nullcontext():
            return self.loop.run(work)

    def actors(self) -> dict[str, Player]:
        """The players by role while data is collected."""
        if self.collector is None:
            return self.players
        return self.players | {POLICY: self.collector.player}
