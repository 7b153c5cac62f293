"""What it takes to play and to measure: who plays, who judges, and where results are kept."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from agents.base import Player
from engines.batcher import Batcher
from envs.social import Rules
from judges.base import Judge
from training.config import RunConfig
from training.play.collector import Collector
from training.play.engines import Engines
from training.play.remote import Remote
from training.storage.run import Run

SELF = "self"
POLICY, FROZEN, EXPERTS, STUBBORN = "policy", "frozen_bc", "experts", "stubborn"
MODEL, CHECKPOINT = "model", "checkpoint"
NAMED = (MODEL, CHECKPOINT)
"""Partners that are known by their models, and not by their role, wherever results are shown."""


@dataclass(slots=True, kw_only=True)
class PlayContext:
    """Everything that it takes to play and to measure.

    Attributes:
        loop: the one event loop of the run, so that connections last; closed with the run.
        engines: behind all models that are loaded here.
        players: by role: the policy, and whoever else may take a seat.
        partners: the roles that policies are measured against; "self" is the policy itself.
        remote: models behind APIs; None where the run calls none.
        collector: who plays in the policy's place while data is collected; None for itself.
        notes: what was asked for and could not be had, in sentences.
    """

    config: RunConfig
    run: Run
    batcher: Batcher
    loop: asyncio.Runner
    engines: Engines
    rules: Rules
    players: dict[str, Player]
    partners: tuple[str, ...]
    judge: Judge
    remote: Remote | None = None
    collector: Collector | None = None
    notes: tuple[str, ...] = ()

    def actors(self) -> dict[str, Player]:
        """Who plays while data is collected, by role."""
        if self.collector is None:
            return self.players
        return self.players | {POLICY: self.collector.player}
