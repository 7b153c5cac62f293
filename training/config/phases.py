"""Options of what happens in a run: cloning, collecting, branching, updating and evaluating."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from engines.models import ModelConfig
from envs.options import Amount, Chosen, Count, NonNegative, OneOf, Positive
from envs.registry import Registry
from training.config.method import Source
from training.methods.sources import SOURCES, SourceSpec

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloningConfig:
    """Stage 0: behaviour cloning on dialogues of `demonstrations`.

    Attributes:
        dialogues: dialogues that scripted experts or a model play, each learned from both seats;
            of a file, the most that are taken. 0 skips the stage.
        drills: single offers whose worth is to be calculated, beside the dialogues.
        notes: whether an expert's reply to an offer begins with a private note of what the offer is
            worth, which the policy then learns to write.
        epochs: how often each dialogue and drill is seen.
        lr: peak learning rate, after a short warm-up and before a cosine down to a tenth of it.
        batch_rows: dialogues seen from one seat, or drills, in one step.
        token_budget: columns that a forward pass may have, padding included; bounds memory and
            does not change the gradients. null: 64 rows a pass, however long they are.
        checkpointing: as in `UpdateConfig`.
        precision: as in `UpdateConfig`.
    """

    dialogues: Amount
    drills: Amount = 0
    notes: bool = True
    epochs: Count = 1
    lr: Positive
    batch_rows: Count = 64
    token_budget: Count | None = None
    checkpointing: bool = False
    precision: Precision = "float32"


SourceName = Annotated[str, OneOf(lambda: SOURCES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemonstrationsConfig(Chosen):
    """Where the dialogues of stage 0 come from: a source with its own options."""

    name: SourceName
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def registry(cls) -> Registry[SourceSpec]:
        return SOURCES

    @property
    def spec(self) -> SourceSpec:
        """The chosen source."""
        return SOURCES[self.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectConfig:
    """Self-play at the start of an iteration.

    Attributes:
        episodes: episodes of an iteration.
        refresh_every: after how many iterations the policy that plays, branches included, takes
            over the weights under training. 1 is online, more is iterative, null is offline: only
            the behaviour-cloned policy plays.
        ahead: whether the next iteration is played while the policy is updated. The policy that
            plays is then one update behind.
    """

    episodes: Count
    refresh_every: Count | None = 1
    ahead: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchConfig:
    """Branching: continuations from the turns that critics choose.

    Attributes:
        points: branch points of an iteration.
        continuations: K, the continuations sampled from each branch point beside the original.
        probes: continuations that estimate one value for a critic that measures; always the
            policy's own.
        source: who takes the policy's seat in a continuation: the policy, or scripted experts, of
            mixed skill or keen ones alone, whose turns are written as the policy would say them.
        partner_temperature: at which a model that is loaded here samples the other seat's turns in
            continuations; null: at its own. A model behind an API has a temperature of its own.
        tokens: a budget of sampled tokens, after which branching stops for an iteration, at the end
            of a wave, so that methods can be compared at equal cost. null: no budget.
    """

    points: Count
    continuations: Count
    probes: Count
    source: Source = "policy"
    partner_temperature: Positive | None = None
    tokens: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateConfig:
    """The update of the policy at the end of an iteration.

    Attributes:
        learning_rate: learning rate of AdamW at the first step of an iteration.
        schedule: "cosine" falls to 0 over the update, without warm-up; "constant" stays.
        epochs: how often each example is seen.
        steps: optimiser steps of an update, in as many epochs as it takes; null: as `epochs` says.
        batch_examples: examples a step; the last step of an epoch may have fewer.
        token_budget: columns that a forward pass may have, padding included; bounds memory and
            does not change the gradients.
        checkpointing: whether activations are computed again for the backward pass and only each
            layer's input is kept: less memory, about a third more time.
        precision: of matrix products, for the policy and its reference; weights and sums stay as
            they are. "bfloat16" needs hardware for it, and is up to fifty times slower on a CPU
            without. "auto" takes it where the hardware has it.
        max_grad_norm: longer gradients are scaled down to this length.
        nll_weight: weight of the better branches' negative log-likelihood beside the objective.
        min_rejected_log_ratio: the update stops when a batch's mean log-ratio of the branches that
            lose (win_prob below 1/2) falls below this, nats; null never stops.
    """

    learning_rate: Positive
    schedule: Literal["cosine", "constant"] = "cosine"
    epochs: Count = 1
    steps: Count | None = None
    batch_examples: Count = 16
    token_budget: Count = 8192
    checkpointing: bool = False
    precision: Precision = "float32"
    max_grad_norm: Positive = 1.0
    nll_weight: NonNegative = 0.0
    min_rejected_log_ratio: float | None = -5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """Low-rank training (LoRA, arXiv 2106.09685) in stage 0 and in each update.

    Each update learns a low-rank change of its own, which is merged into the weights at its end
    (ReLoRA, arXiv 2307.05695). So gradients and optimiser state are small, and checkpoints and
    engines hold whole models.

    Attributes:
        rank: rank of the change of each linear layer but the output's; null trains all weights.
        alpha: changes are scaled by alpha / rank.
        learning_rate_factor: learning rates are multiplied by this; low-rank changes want about
            ten times larger ones (Schulman and Thinking Machines, LoRA without regret, 2025).
    """

    rank: Count | None = None
    alpha: Count = 32
    learning_rate_factor: Positive = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """Evaluation on held-out scenarios.

    Attributes:
        split: the split of the final comparison: "dev" to choose a recipe, "test" to report one.
        scenarios: scenarios a partner in the final comparison; a split of SOTOPIA is played whole.
        curve_scenarios: dev scenarios a partner for the learning curves.
        every: iterations between two points of those curves; the last iteration has one, too.
        stubborn_bias: how much less, in nats, the control "stubborn" wants to accept an offer
            than the behaviour-cloned policy; null leaves the control out.
        both_seats: whether the policy plays each scenario from both seats against others; else it
            changes seats from scenario to scenario. SOTOPIA's are always played from both.
        episodes: episodes of each scenario and seat in the final comparison, with seeds of their
            own; a scenario still counts once, by its mean.
    """

    split: Literal["dev", "test"]
    scenarios: Count
    curve_scenarios: Amount = 128
    every: Count
    stubborn_bias: Positive | None = None
    both_seats: bool = False
    episodes: Count = 1

    def has_point(self, iteration: int, last: int) -> bool:
        """Whether the learning curves have a point after this iteration of `last`."""
        return self.curve_scenarios > 0 and (iteration % self.every == 0 or iteration == last)

    def points(self, iterations: int) -> int:
        """How many points the curves have after so many iterations, without the clone's."""
        return -(-iterations // self.every) if self.curve_scenarios else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationConfig:
    """What a judge is measured against (python -m judges.calibrate).

    Attributes:
        episodes: episodes of env.families that scripted experts play; 0 leaves them out.
        casino: folder of CaSiNo's files, or hf://OWNER/DATASET; empty leaves them out.
        split: the split of CaSiNo. Labels of "valid" are for reporting, never for tuning.
        dialogues: how many of its dialogues at most, the first ones; 0 takes all.
        twice: episodes and dialogues that are judged twice more, to see whether verdicts stay.
        canaries: whether dialogues that try to manipulate the judge are judged as well.
    """

    episodes: Amount = 100
    casino: str = ""
    split: Literal["train", "valid", "all"] = "train"
    dialogues: Amount = 0
    twice: Amount = 50
    canaries: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class InventConfig:
    """New open scenes that a model writes (python -m envs.scenarios.invent).

    Attributes:
        count: scenes that the file shall have; those that are there count.
        out: the file, which ends in .jsonl; accepted scenes are added to it.
        tries: attempts at most, for each scene of `count`; some give near-duplicates.
        model: the chat model that writes.
    """

    count: Count = 20
    out: str = ""
    tries: Count = 4
    model: ModelConfig | None = None
