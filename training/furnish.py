"""From a configuration to the parts of a training run: what learns, from what, and how."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from agents.base import Player
from agents.prompts import STYLES
from agents.scripted import ScriptedExperts
from agents.stream import ChatStream
from agents.written import WrittenPlayer
from engines.types import LoadedEngine
from judges.critic_base import Critic
from judges.pairwise import PairwiseJudge
from training.cloning import standing_note
from training.config import RunConfig
from training.judging import critics_of, pairwise_judge_of
from training.objectives import make_objective
from training.objectives.base import Objective, State, Stateful
from training.pairings import PAIRINGS
from training.pairings.base import Pairing, PairingRule
from training.schedules import Collector, twin
from training.setting import (
    FROZEN,
    POLICY,
    STUBBORN,
    Setting,
    open_setting,
    seat_model,
    stop_tokens,
)
from training.storage.checkpoint import Checkpoint
from training.storage.run import Run
from training.values import VALUES


@dataclass(slots=True, kw_only=True)
class Parts(Setting):
    """Everything that a training run is made of.

    Attributes:
        model: the weights under training; `engine` has a copy of its own, written by `publish`.
        clone: the weights after stage 0, which never change.
        critics: each critic that has a share of the branch points, with that share in (0, 1].
        preference: who compares branches; None where their values do.
        objective_state: what the objective has carried over from the updates so far.
        collector: who plays in the policy's place while data is collected; None for itself.
        average: the moving average that the policy is held to; None where it is held to another.
        teacher: who continues at branch points in the policy's place; None for itself.
    """

    model: PreTrainedModel
    clone: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    engine: LoadedEngine
    critics: list[tuple[Critic, float]]
    preference: PairwiseJudge | None
    pairing: Pairing
    rule: PairingRule
    objective: Objective | Stateful
    objective_state: State = field(default_factory=dict)
    collector: Collector | None = None
    average: PreTrainedModel | None = None
    teacher: Player | None = None

    def publish(self) -> str:
        """Give the engine the trainer's weights and wake all; returns their version."""
        version = self.engine.publish(self.model)
        self.engines.wake()
        return version


def furnish(config: RunConfig, run: Run, clone: Checkpoint, policy: Checkpoint) -> Parts:
    """Build the parts around the cloned policy and the one to go on with."""
    setting = open_setting(config, run)
    engine = seat_policies(setting, clone, policy)
    return Parts(
        **{field.name: getattr(setting, field.name) for field in fields(Setting)},
        model=policy.model,
        clone=clone.model,
        tokenizer=policy.tokenizer,
        engine=engine,
        critics=critics_of(config.critic, setting.remote, seed=config.seed),
        preference=pairwise_judge_of(config, setting.remote),
        pairing=PAIRINGS[config.pairing.name],
        rule=PairingRule(
            VALUES[config.pairing.value],
            config.pairing.margin,
            config.pairing.max_segment_turns or 1,  # not set for the pairing that needs none
            config.pairing.contrasts,
            config.pairing.sides,
            config.pairing.rejected_segment_turns,
            config.pairing.verified_goal or 0.0,
            config.pairing.reward_temperature or 1.0,
        ),
        objective=make_objective(config.objective.name, **config.objective.options),
        objective_state=policy.trainer_state.get("objective", {}),
        collector=_collector(setting, clone),
        average=_average(config, clone, policy),
        teacher=_teacher(config, clone),
    )


def _collector(setting: Setting, clone: Checkpoint) -> Collector | None:
    config = setting.config
    if config.collect.refresh_every == 1 and not config.collect.ahead:
        return None
    stop_ids = stop_tokens(clone.model, clone.tokenizer)
    engine = setting.engines.load(clone.model, stop_ids, changes=True)
    player = seat_model(POLICY, engine, ChatStream(clone.tokenizer), config.policy)
    folder_of = setting.run.checkpoint_folder
    return Collector(player, engine, clone.model, config.collect, folder_of)


def _average(config: RunConfig, clone: Checkpoint, policy: Checkpoint) -> PreTrainedModel | None:
    """The average as the last iteration left it; before the first, the clone."""
    if config.reference.schedule != "average":
        return None
    return policy.average or twin(clone.model)


def _teacher(config: RunConfig, clone: Checkpoint) -> Player | None:
    source = config.branch.source
    if source == "policy":
        return None
    experts = ScriptedExperts() if source == "experts" else ScriptedExperts((("keen", 1.0),))
    style = STYLES[config.policy.prompt_style]
    return WrittenPlayer(experts, ChatStream(clone.tokenizer), style, standing_note)


def seat_policies(setting: Setting, clone: Checkpoint, policy: Checkpoint) -> LoadedEngine:
    """Seat the policy, its frozen clone and the stubborn control; returns the policy's engine."""
    config, engines = setting.config, setting.engines
    stop_ids = stop_tokens(clone.model, clone.tokenizer)
    frozen = engines.load(clone.model, stop_ids, changes=False)
    engine = engines.load(policy.model, stop_ids, changes=True)
    stream = ChatStream(clone.tokenizer)
    setting.players[POLICY] = seat_model(POLICY, engine, stream, config.policy)
    setting.players[FROZEN] = seat_model(FROZEN, frozen, stream, config.policy)
    if config.evaluation.stubborn_bias is not None:
        accept, bias = _tokens(clone, "accept"), -config.evaluation.stubborn_bias
        if len(accept) == 1:
            control = ((accept[0], bias),)
            setting.players[STUBBORN] = seat_model(STUBBORN, frozen, stream, config.policy, control)
        else:
            setting.notes += (_no_control(len(accept)),)
    return engine


def _tokens(checkpoint: Checkpoint, word: str) -> list[int]:
    return list(checkpoint.tokenizer(word, add_special_tokens=False)["input_ids"])


def _no_control(tokens: int) -> str:
    return (
        "There is no stubborn control: it lowers the one token for 'accept', which this tokenizer "
        f"writes in {tokens}. evaluation.stubborn_bias=null leaves it out without this note."
    )
