"""From a configuration to the parts of a training run: what plays, is compared and learns."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from agents.base import Player
from agents.chat_template import ChatTemplate
from agents.demonstrator import Demonstrator
from agents.prompts import STYLES
from agents.scripted import ScriptedExperts
from training.build.judges import critics_of, pairwise_judge_of
from training.build.players import open_play, seat_model, seat_policies, stop_tokens
from training.config import RunConfig
from training.learning.cloning import standing_note
from training.learning.learner import Learner
from training.learning.references import frozen_copy
from training.methods.objectives import make_objective
from training.methods.pairings import PAIRINGS
from training.methods.pairings.base import Pairing, PairingRule
from training.methods.values import VALUES
from training.play.branch import BranchPlan
from training.play.branching import Brancher
from training.play.collector import Collector
from training.play.context import POLICY, PlayContext
from training.storage.checkpoint import Checkpoint
from training.storage.run import Run


@dataclass(slots=True, kw_only=True)
class Trainer:
    """Everything that a training run is made of, by what happens to data.

    Attributes:
        play: who plays and who judges.
        branching: where continuations begin, how they are played and how they are compared.
        pairing: makes examples of groups, by `rule`.
        learner: the weights under training and what their update needs.
    """

    play: PlayContext
    branching: BranchPlan
    pairing: Pairing
    rule: PairingRule
    learner: Learner


def build_trainer(config: RunConfig, run: Run, bc: Checkpoint, policy: Checkpoint) -> Trainer:
    """Build the parts around the behaviour-cloned policy and the one to go on with."""
    play = open_play(config, run)
    engine = seat_policies(play, bc, policy)
    play.collector = _collector(play, bc)
    rule = pairing_rule(config)
    return Trainer(
        play=play,
        branching=_branch_plan(play, rule, _teacher(config, bc)),
        pairing=PAIRINGS[config.pairing.name],
        rule=rule,
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


def pairing_rule(config: RunConfig) -> PairingRule:
    """How the pairing chooses, from its options."""
    pairing = config.pairing
    return PairingRule(
        value=VALUES[pairing.value],
        margin=pairing.margin,
        max_segment_turns=pairing.max_segment_turns or 1,  # not set for pairings without segments
        contrasts=pairing.contrasts,
        sides=pairing.sides,
        rejected_segment_turns=pairing.rejected_segment_turns,
        verified_goal=pairing.verified_goal or 0.0,
        reward_temperature=pairing.reward_temperature or 1.0,
    )


def _branch_plan(play: PlayContext, rule: PairingRule, teacher: Player | None) -> BranchPlan:
    config = play.config
    return BranchPlan(
        critics=tuple(critics_of(config.critic, play.remote, seed=config.seed)),
        brancher=Brancher(
            players={player.id: player for player in play.actors().values()},
            rules=play.rules,
            judge=play.judge,
            batcher=play.batcher,
            continuations=config.branch.continuations,
            probes=config.branch.probes,
            value=rule.value,
            margin=rule.margin,
            run_seed=config.seed,
            preference=pairwise_judge_of(config, play.remote),
            selects_segments=config.critic.selects_segments
            and config.pairing.name in ("segment", "preferred"),
            teacher=teacher,
            run=play.loop.run,
        ),
    )


def _collector(play: PlayContext, bc: Checkpoint) -> Collector | None:
    config = play.config
    if config.collect.refresh_every == 1 and not config.collect.ahead:
        return None
    stop_ids = stop_tokens(bc.model, bc.tokenizer)
    engine = play.engines.load(bc.model, stop_ids, changes=True)
    player = seat_model(POLICY, engine, ChatTemplate(bc.tokenizer), config.policy)
    return Collector(player, engine, bc.model, config.collect, play.run.checkpoint_folder)


def _average(config: RunConfig, bc: Checkpoint, policy: Checkpoint) -> PreTrainedModel | None:
    """The average as the last iteration left it; before the first, the clone."""
    if config.reference.schedule != "average":
        return None
    return policy.average or frozen_copy(bc.model)


def _teacher(config: RunConfig, bc: Checkpoint) -> Player | None:
    source = config.branch.source
    if source == "policy":
        return None
    experts = ScriptedExperts() if source == "experts" else ScriptedExperts((("keen", 1.0),))
    style = STYLES[config.policy.prompt_style]
    return Demonstrator(experts, ChatTemplate(bc.tokenizer), style, standing_note)
