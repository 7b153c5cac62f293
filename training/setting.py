"""Who plays and who judges: everything of a run but what learns."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from agents.base import Player
from agents.human import HumanPlayer
from agents.policy import ModelPlayer
from agents.prompts import STYLES
from agents.remote import RemotePlayer
from agents.scripted import ScriptedExperts
from agents.stream import ChatStream
from engines.rendezvous import Rendezvous
from engines.types import Engine, Sampling
from envs.errors import ConfigError
from envs.social import Rules
from judges.base import Judge
from training.config import RunConfig, models
from training.config.play import CheckpointConfig, ModelConfig, PolicyConfig
from training.engines import Engines
from training.evaluate import SELF
from training.judging import judge_of
from training.launch.preflight import API
from training.remote import Remote
from training.storage.checkpoint import load_pretrained
from training.storage.run import Run

POLICY, FROZEN, EXPERTS, STUBBORN = "policy", "frozen_bc", "experts", "stubborn"
MODEL, CHECKPOINT, HUMAN = "model", "checkpoint", "human"
NAMED = (MODEL, CHECKPOINT)
"""Partners that are known by their models, and not by their role, wherever results are shown."""


@dataclass(slots=True, kw_only=True)
class Setting:
    """Everything that it takes to play and to measure.

    Attributes:
        loop: the one event loop of the run, so that connections last; closed with the run.
        engines: behind all models that are loaded here.
        players: by role: the policy, and whoever else may take a seat.
        partners: the roles that policies are measured against; "self" is the policy itself.
        remote: models behind APIs; None where the run calls none.
        notes: what was asked for and could not be had, in sentences.
    """

    config: RunConfig
    run: Run
    rendezvous: Rendezvous
    loop: asyncio.Runner
    engines: Engines
    rules: Rules
    players: dict[str, Player]
    partners: tuple[str, ...]
    judge: Judge
    remote: Remote | None = None
    notes: tuple[str, ...] = ()


def open_setting(config: RunConfig, run: Run) -> Setting:
    """Seat all that need no weights of the run: experts, other models, a person; and a judge.

    Raises:
        ConfigError: a model cannot be asked, or cannot end a turn.
    """
    rendezvous, loop = Rendezvous(), asyncio.Runner()
    engines = Engines(config.engine, rendezvous)
    run.on_close(engines.close)
    run.on_close(loop.close)
    remote = Remote(config, run, loop) if models(config) else None
    return Setting(
        config=config,
        run=run,
        rendezvous=rendezvous,
        loop=loop,
        engines=engines,
        rules=config.env.rules,
        players=_outsiders(config, remote, engines),
        partners=(SELF, FROZEN, EXPERTS),
        judge=judge_of(config.judge, remote, seed=config.seed),
        remote=remote,
    )


def _outsiders(config: RunConfig, remote: Remote | None, engines: Engines) -> dict[str, Player]:
    partner = config.partner
    wanted = {name for name, weight in partner.weights.items() if weight > 0}
    players: dict[str, Player] = {EXPERTS: ScriptedExperts()}
    if HUMAN in wanted:
        players[HUMAN] = HumanPlayer()
    if MODEL in wanted and partner.model and remote:
        players[MODEL] = seat_remote(partner.model, remote)
    if CHECKPOINT in wanted and partner.checkpoint:
        players[CHECKPOINT] = _seat_checkpoint(partner.checkpoint, engines)
    if config.policy.name == API and config.policy.model and remote:
        players[POLICY] = seat_remote(config.policy.model, remote, purpose="policy")
    return players


def seat_remote(
    model: ModelConfig, remote: Remote, *, purpose: Literal["partner", "policy"] = "partner"
) -> RemotePlayer:
    """A chat model behind an API as a player."""
    return RemotePlayer(
        remote.chat(model),
        STYLES[model.prompt_style],
        temperature=model.temperature,
        max_tokens=model.max_tokens,
        purpose=purpose,
    )


def _seat_checkpoint(partner: CheckpointConfig, engines: Engines) -> ModelPlayer:
    model, tokenizer = load_pretrained(partner.name)
    engine = engines.load(model, stop_tokens(model, tokenizer), changes=False)
    return seat_model(Path(partner.name).name, engine, ChatStream(tokenizer), partner)


def seat_model(
    name: str,
    engine: Engine,
    stream: ChatStream,
    how: PolicyConfig | CheckpointConfig,
    logit_bias: tuple[tuple[int, float], ...] = (),
) -> ModelPlayer:
    """A model that is loaded here as a player."""
    sampling = Sampling(how.temperature, how.max_new_tokens, logit_bias)
    return ModelPlayer(name, engine, stream, STYLES[how.prompt_style], sampling)


def stop_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The tokens that end a turn: the tokenizer's end of sequence and the model's own list."""
    listed = getattr(model.generation_config, "eos_token_id", None)
    own = [listed] if isinstance(listed, int) else list(listed or [])
    stops = {int(t) for t in [tokenizer.eos_token_id, *own] if t is not None}
    if not stops:
        raise ConfigError(
            "The model has no end-of-sequence token, so its turns would never end; set one in its "
            "tokenizer or generation_config.json."
        )
    return tuple(sorted(stops))
