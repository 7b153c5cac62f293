"""From a configuration to the parts of a run: the models, who plays, who judges, how to learn."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from agents.base import Player
from agents.policy import ModelPlayer
from agents.prompts import STYLES
from agents.scripted import ScriptedExperts
from agents.stream import ChatStream
from engines.local import LocalEngine
from engines.rendezvous import Rendezvous
from engines.types import Sampling
from envs.errors import ConfigError
from envs.social import Rules
from judges.base import Judge
from judges.critic_base import Critic
from judges.critics import CRITICS
from judges.verifiable import VerifiableJudge
from training.checkpoint import Checkpoint
from training.config import RunConfig
from training.evaluate import SELF
from training.objectives import OBJECTIVES
from training.objectives.base import Objective
from training.pairing import PAIRINGS, Pairing, PairingRule
from training.run import Run
from training.values import VALUES

POLICY, FROZEN, EXPERTS, STUBBORN = "policy", "frozen_bc", "experts", "stubborn"

NAMED = ("model", "checkpoint")
"""Partners that are known by their models, and not by their role, wherever results are shown."""


@dataclass(slots=True, kw_only=True)
class Setting:
    """Everything that it takes to play and to measure.

    Attributes:
        loop: the one event loop of the run, so that connections last; closed with the run.
        players: by role: the policy, and whoever else may take a seat.
        partners: the roles that policies are measured against; "self" is the policy itself.
        notes: what was asked for and could not be had, in sentences.
    """

    config: RunConfig
    run: Run
    rendezvous: Rendezvous
    loop: asyncio.Runner
    rules: Rules
    players: dict[str, Player]
    partners: tuple[str, ...]
    judge: Judge
    notes: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Parts(Setting):
    """Everything that a training run is made of.

    Attributes:
        model: the weights under training; `engine` has a copy of its own, written by `publish`.
        clone: the weights after stage 0, which never change.
        critics: each critic that has a share of the branch points, with that share in (0, 1].
    """

    model: PreTrainedModel
    clone: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    engine: LocalEngine
    critics: list[tuple[Critic, float]]
    pairing: Pairing
    rule: PairingRule
    objective: Objective

    def publish(self) -> str:
        """Give the engine the trainer's weights; returns their version."""
        return self.engine.publish(self.model)


def furnish(config: RunConfig, run: Run, clone: Checkpoint, policy: Checkpoint) -> Parts:
    """Build the parts around the cloned policy and the one to go on with."""
    rendezvous, loop = Rendezvous(), asyncio.Runner()
    run.on_close(loop.close)
    stop_ids = stop_tokens(clone)
    frozen = LocalEngine(clone.model, stop_ids=stop_ids, rendezvous=rendezvous)
    engine = LocalEngine(_copy(policy.model), stop_ids=stop_ids, rendezvous=rendezvous)
    seat = partial(_seat_model, config, ChatStream(clone.tokenizer))
    players: dict[str, Player] = {
        POLICY: seat(POLICY, engine),
        FROZEN: seat(FROZEN, frozen),
        EXPERTS: ScriptedExperts(),
    }
    notes: tuple[str, ...] = ()
    if config.evaluation.stubborn_bias is not None:
        accept, bias = _tokens(clone, "accept"), -config.evaluation.stubborn_bias
        if len(accept) == 1:
            players[STUBBORN] = seat(STUBBORN, frozen, ((accept[0], bias),))
        else:
            notes = (_no_control(len(accept)),)
    return Parts(
        config=config,
        run=run,
        model=policy.model,
        clone=clone.model,
        tokenizer=policy.tokenizer,
        engine=engine,
        rendezvous=rendezvous,
        loop=loop,
        rules=config.env.rules,
        players=players,
        judge=VerifiableJudge(),
        critics=_critics(config),
        pairing=PAIRINGS[config.pairing.name],
        rule=PairingRule(
            VALUES[config.pairing.value],
            config.pairing.margin,
            config.pairing.max_segment_turns or 1,  # not set for the pairing that needs none
            config.pairing.contrasts,
        ),
        objective=_objective(config),
        notes=notes,
        partners=(SELF, FROZEN, EXPERTS),
    )


def stop_tokens(checkpoint: Checkpoint) -> tuple[int, ...]:
    """The tokens that end a turn: the tokenizer's end of sequence and the model's own list."""
    listed = getattr(checkpoint.model.generation_config, "eos_token_id", None)
    own = [listed] if isinstance(listed, int) else list(listed or [])
    stops = {int(t) for t in [checkpoint.tokenizer.eos_token_id, *own] if t is not None}
    if not stops:
        raise ConfigError(
            "The policy has no end-of-sequence token, so its turns would never end; set one in its "
            "tokenizer or generation_config.json."
        )
    return tuple(sorted(stops))


def _seat_model(
    config: RunConfig,
    stream: ChatStream,
    name: str,
    engine: LocalEngine,
    logit_bias: tuple[tuple[int, float], ...] = (),
) -> ModelPlayer:
    sampling = Sampling(config.policy.temperature, config.policy.max_new_tokens, logit_bias)
    return ModelPlayer(name, engine, stream, STYLES[config.policy.prompt_style], sampling)


def _tokens(checkpoint: Checkpoint, word: str) -> list[int]:
    return list(checkpoint.tokenizer(word, add_special_tokens=False)["input_ids"])


def _no_control(tokens: int) -> str:
    return (
        "There is no stubborn control: it lowers the one token for 'accept', which this tokenizer "
        f"writes in {tokens}. evaluation.stubborn_bias=null leaves it out without this note."
    )


def _critics(config: RunConfig) -> list[tuple[Critic, float]]:
    weights = {name: weight for name, weight in config.critic.weights.items() if weight > 0}
    options: dict[str, dict[str, Any]] = {
        "value": {"min_drop": config.critic.min_drop},
        "random": {"seed": config.seed},
    }
    total = sum(weights.values())
    return [(CRITICS[name](**options[name]), weight / total) for name, weight in weights.items()]


def _objective(config: RunConfig) -> Objective:
    options = {"eta": config.objective.eta, "beta": config.objective.beta}
    given = {name: value for name, value in options.items() if value is not None}
    return partial(OBJECTIVES[config.objective.name], **given)


def _copy(model: PreTrainedModel) -> PreTrainedModel:
    twin = type(model)(model.config)
    twin.load_state_dict(model.state_dict())
    return twin
