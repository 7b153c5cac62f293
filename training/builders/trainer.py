"""Builds a training run from its options: what plays, what is compared and what learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from transformers import PreTrainedModel

from agents.base import Player
from agents.chat_template import ChatTemplate
from agents.demonstrator import Demonstrator
from agents.policy import ModelPlayer
from agents.scripted import ScriptedExperts
from training.builders.judges import critics_of, pairwise_judge_of
from training.builders.players import (
    for_patterns,
    open_play,
    seat_model,
    seat_policies,
    stop_tokens,
)
from training.config import RunConfig
from training.learning.demonstrations import standing_note
from training.learning.learner import Learner
from training.learning.references import frozen_copy
from training.methods.objectives import make_objective
from training.methods.pairings.base import FilledPairing
from training.methods.values import VALUES, Value
from training.play.branch import BranchPlan
from training.play.branching import Brancher
from training.play.collector import Collector
from training.play.context import POLICY, PlayContext
from training.play.remote import resources
from training.storage.checkpoint import Checkpoint
from training.storage.run import Run


@dataclass(slots=True, kw_only=True)
class Trainer:
    """The parts of a training run, in the order in which data flows through them.

    Attributes:
        play: the players and the judge.
        branching: where continuations begin, how they are played and how they are compared.
        pairing: makes one example of a group and the values of its branches, or says why not.
        value: what makes a branch better.
        learner: the weights under training and everything that their update needs.
    """

    play: PlayContext
    branching: BranchPlan
    pairing: FilledPairing
    value: Value
    learner: Learner


def build_trainer(config: RunConfig, run: Run, bc: Checkpoint, policy: Checkpoint) -> Trainer:
    """Build the parts around the behaviour-cloned policy and the one to go on with."""
    play = open_play(config, run)
    engine = seat_policies(play, bc, policy)
    play.collector = _collector(play, bc)
    return Trainer(
        play=play,
        branching=_branch_plan(play, _teacher(config, bc)),
        pairing=partial(config.pairing.spec.make, **config.pairing.arguments),
        value=value_of(config),
        learner=Learner(
            config=config,
            model=policy.model,
            bc=bc.model,
            tokenizer=policy.tokenizer,
            engine=engine,
            engines=play.engines,
            objective=make_objective(config.objective.name, **config.objective.options),
            objective_state=policy.trainer_state.get("objective", {}),
            average=_average(config, bc, policy),
        ),
    )


def value_of(config: RunConfig) -> Value:
    """What makes a branch better than another."""
    value: Value = VALUES[config.pairing.value].make
    return value


def _branch_plan(play: PlayContext, teacher: Player | None) -> BranchPlan:
    config = play.config
    given = resources(play.remote, seed=config.seed)
    players = {player.id: player for player in play.actors().values()}
    return BranchPlan(
        critics=tuple(critics_of(config.critic, given)),
        brancher=Brancher(
            players=players,
            partners=_as_partners(players, config.branch.partner_temperature),
            rules=play.rules,
            judge=play.judge,
            batcher=play.batcher,
            continuations=config.branch.continuations,
            probes=config.branch.probes,
            value=value_of(config),
            margin=config.pairing.margin,
            run_seed=config.seed,
            preference=pairwise_judge_of(config, given),
            selects_segments=config.critic.selects_segments and config.pairing.spec.by_segment,
            teacher=teacher,
            run=play.run_wave,
        ),
    )


def _as_partners(players: Mapping[str, Player], temperature: float | None) -> Mapping[str, Player]:
    """The players as they take the other seat in continuations."""
    if temperature is None:
        return players
    return {
        name: player.at(temperature) if isinstance(player, ModelPlayer) else player
        for name, player in players.items()
    }


def _collector(play: PlayContext, bc: Checkpoint) -> Collector | None:
    config = play.config
    if config.collect.refresh_every == 1 and not config.collect.ahead:
        return None
    stream = ChatTemplate(bc.tokenizer, thinking=config.policy.thinking)
    stop_ids = stop_tokens(bc.model, bc.tokenizer, stream)
    tokenizer = for_patterns(bc.tokenizer, config.policy)
    engine = play.engines.load(bc.model, stop_ids, changes=True, tokenizer=tokenizer)
    player = seat_model(POLICY, engine, stream, config.policy)
    return Collector(player, engine, bc.model, config.collect, play.run.checkpoint_folder)


def _average(config: RunConfig, bc: Checkpoint, policy: Checkpoint) -> PreTrainedModel | None:
    """The average after the last iteration; before the first, the behaviour-cloned policy."""
    if config.reference.schedule != "average":
        return None
    return policy.average or frozen_copy(bc.model)


def _teacher(config: RunConfig, bc: Checkpoint) -> Player | None:
    source = config.branch.source
    if source == "policy":
        return None
    style = config.policy.style
    mixed = ScriptedExperts(speaks=style.speaks)
    experts = mixed if source == "experts" else replace(mixed, weights=(("keen", 1.0),))
    stream = ChatTemplate(bc.tokenizer, thinking=config.policy.thinking)
    note = standing_note if config.cloning.notes else lambda task, observation, style: ""
    return Demonstrator(experts, stream, style, note)
