"""From a configuration to the parts of a training run: what learns, from what, and how."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from agents.stream import ChatStream
from engines.local import LocalEngine
from judges.critic_base import Critic
from judges.pairwise import PairwiseJudge
from training.checkpoint import Checkpoint
from training.config import RunConfig
from training.judging import critics_of, pairwise_judge_of
from training.objectives import make_objective
from training.objectives.base import Objective, State, Stateful
from training.pairing import PAIRINGS, Pairing, PairingRule
from training.run import Run
from training.setting import (
    FROZEN,
    POLICY,
    STUBBORN,
    Setting,
    open_setting,
    seat_model,
    stop_tokens,
)
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
    """

    model: PreTrainedModel
    clone: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    engine: LocalEngine
    critics: list[tuple[Critic, float]]
    preference: PairwiseJudge | None
    pairing: Pairing
    rule: PairingRule
    objective: Objective | Stateful
    objective_state: State = field(default_factory=dict)

    def publish(self) -> str:
        """Give the engine the trainer's weights; returns their version."""
        return self.engine.publish(self.model)


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
        ),
        objective=make_objective(config.objective.name, **config.objective.options),
        objective_state=policy.trainer_state.get("objective", {}),
    )


def seat_policies(setting: Setting, clone: Checkpoint, policy: Checkpoint) -> LocalEngine:
    """Seat the policy, its frozen clone and the stubborn control; returns the policy's engine."""
    config, rendezvous = setting.config, setting.rendezvous
    stop_ids = stop_tokens(clone.model, clone.tokenizer)
    frozen = LocalEngine(clone.model, stop_ids=stop_ids, rendezvous=rendezvous)
    engine = LocalEngine(_copy(policy.model), stop_ids=stop_ids, rendezvous=rendezvous)
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


def _copy(model: PreTrainedModel) -> PreTrainedModel:
    twin = type(model)(model.config)
    twin.load_state_dict(model.state_dict())
    return twin
