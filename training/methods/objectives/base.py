"""What objectives take and give: log-probabilities of branches in, a loss and its metrics out.

Axis suffixes: `_B` branches, `_P` pairs, `_T` own turns. An objective is a pure function

    objective(pairs: Pairs, *, <its own options>) -> ObjectiveOutput
    objective(branches: BranchLogps, *, <its own options>) -> ObjectiveOutput

whose loss is a mean over branches or over pairs, so that a batch may be split and the parts
averaged by their numbers of branches. Branches of one example lie side by side; a pair is
(chosen, rejected), so that pairs lie chosen, rejected, chosen, rejected, ...

What is a number of the whole batch, or of the batches before it, does not fit into that. It is
kept in a state of plain numbers, which a second pure function advances once a batch: `Stateful`.
"""

# ruff: noqa: N802, N815 (axis suffixes)
from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from envs.errors import ConfigError, TrainingError
from envs.registry import Component, Registry, described, keywords_of, options_of
from training.methods.lazy_torch import torch

if TYPE_CHECKING:
    from torch import Tensor

Shape = Literal["pairs", "rated_pairs", "branches"]
"""What an objective reads, and what a pairing gives, from the narrowest to the widest: (chosen,
rejected) pairs; the best and the worst branch of a group with their win rates; any branches."""

SHAPES: tuple[Shape, ...] = ("pairs", "rated_pairs", "branches")

Measured = Literal["kl", "mismatched", "anchor"]
"""What an objective may want measured that costs passes of its own (`learning.reference`)."""

State = Mapping[str, float]
"""Numbers that an objective carries from batch to batch; empty before the first."""


@dataclass(frozen=True, slots=True)
class BranchLogps:
    """What a policy and its reference say of each branch; shape (B,) where nothing else is said.

    The first four are always there. The others are None where nobody measured them.

    Attributes:
        policy_logps_B: log-probability of the branch's loss tokens, summed, nats.
        reference_logps_B: the same under the reference; carries no gradient.
        win_prob_B: probability that the branch beats the others of its group, 0 to 1;
            1 for the chosen and 0 for the rejected side of a pair.
        loss_tokens_B: number of loss tokens in those sums.
        group_B: which example a branch belongs to; only whether two are equal matters.
        turns_B: number of own turns with loss, each of them an unbroken run of loss tokens.
        policy_turn_logps_BT: log-probability of each of those turns, 0 behind the last; (B, T).
        reference_turn_logps_BT: the same under the reference; (B, T).
        kl_B: KL(reference || policy) of the next token, summed over the loss tokens, nats.
        anchor_logps_B: summed log-probability under a second reference that is never refreshed.
        mismatched_log_ratio_M: log(policy / reference) of replies behind other examples' trunks,
            without gradient; shape (M,), of the whole batch.
        chosen_tokens_per_branch: loss tokens of chosen branches by number of all branches, in the
            whole batch of which this is a part; None: this is the whole batch.
    """

    policy_logps_B: Tensor
    reference_logps_B: Tensor
    win_prob_B: Tensor
    loss_tokens_B: Tensor
    group_B: Tensor | None = None
    turns_B: Tensor | None = None
    policy_turn_logps_BT: Tensor | None = None
    reference_turn_logps_BT: Tensor | None = None
    kl_B: Tensor | None = None
    anchor_logps_B: Tensor | None = None
    mismatched_log_ratio_M: Tensor | None = None
    chosen_tokens_per_branch: float | None = None

    def __post_init__(self) -> None:
        shapes = {name: tuple(values.shape) for name, values in _columns(self).items()}
        short = {shape[:1] for shape in shapes.values()}
        wrong = [name for name, shape in shapes.items() if len(shape) != 1 + name.endswith("_BT")]
        if wrong or len(short) != 1:
            raise TrainingError(
                f"BranchLogps got the shapes {shapes}, expected one and the same shape (B,); "
                "give each tensor one number per branch, and turns one row per branch."
            )

    @property
    def log_ratio_B(self) -> Tensor:
        """log(policy / reference) of each branch, nats."""
        return self.policy_logps_B - self.reference_logps_B

    @property
    def mean_logps_B(self) -> Tensor:
        """Log-probability per loss token under the policy, nats; 0 for a branch without tokens."""
        return self.policy_logps_B / self.loss_tokens_B.clamp(min=1)


def _columns(branches: BranchLogps) -> dict[str, Tensor]:
    """The tensors with one row a branch."""
    named = {f.name: getattr(branches, f.name) for f in fields(branches)}
    return {n: v for n, v in named.items() if isinstance(v, torch.Tensor) and not n.endswith("_M")}


@dataclass(frozen=True, slots=True)
class Pairs:
    """The two sides of each pair, as views of the branches; every tensor has P rows."""

    chosen: BranchLogps
    rejected: BranchLogps

    @property
    def margin_P(self) -> Tensor:
        """By how much the policy moved towards chosen rather than rejected, nats."""
        return self.chosen.log_ratio_B - self.rejected.log_ratio_B


Read = BranchLogps | Pairs
"""What a loss of pairs can be given: pairs, or branches that are laid out as pairs."""


@dataclass(frozen=True, slots=True)
class ObjectiveOutput:
    """A scalar loss to minimise, and numbers to log beside it."""

    loss: Tensor
    metrics: dict[str, float]


Objective = Callable[[BranchLogps], ObjectiveOutput]
"""An objective with its options filled in."""


@dataclass(frozen=True, slots=True)
class Stateful:
    """An objective that depends on numbers of the whole batch or of earlier batches.

    Attributes:
        advance: (the whole batch without gradient, the state before it) -> the state for it.
        loss: (branches, the state for their batch) -> output; a mean like that of an `Objective`.
    """

    advance: Callable[[BranchLogps, State], State]
    loss: Callable[[BranchLogps, State], ObjectiveOutput]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveSpec(Component):
    """A registered objective; `make` is its loss.

    Attributes:
        reads: the branches that it understands.
        uses_reference: whether the loss depends on the reference's log-probs.
        measures: what it wants measured beside log-probs, at the cost of passes of its own.
        advance: how its state moves on by a batch, where it has one.
    """

    reads: Shape = "pairs"
    uses_reference: bool = True
    measures: Measured | None = None
    advance: Callable[..., State] | None = None

    def option_help(self) -> dict[str, str]:
        """What the docstrings of its state and its loss say of each option."""
        state = described(inspect.getdoc(self.advance) or "") if self.advance else {}
        return state | Component.option_help(self)

    def can_read(self, given: Shape) -> bool:
        """Whether it understands what a pairing gives."""
        return SHAPES.index(given) <= SHAPES.index(self.reads)


OBJECTIVES: Registry[ObjectiveSpec] = Registry(
    "objective", group="objectives", modules=["training.methods.objectives"]
)
"""All objectives by name."""

P = ParamSpec("P")
R = TypeVar("R")
Loss = TypeVar("Loss", bound=Callable[..., ObjectiveOutput])


def on_pairs(function: Callable[Concatenate[Pairs, P], R]) -> Callable[Concatenate[Read, P], R]:
    """Let a function of pairs take branches, too, which are read as pairs first."""

    @wraps(function)
    def reading(branches: Read, /, *args: P.args, **kwargs: P.kwargs) -> R:
        read = branches if isinstance(branches, Pairs) else pairs(branches)
        return function(read, *args, **kwargs)

    return reading


@overload
def objective(
    name: str,
    *,
    reads: Literal["pairs"] = "pairs",
    uses_reference: bool = True,
    measures: Measured | None = None,
    state: Callable[..., State] | None = None,
) -> Callable[
    [Callable[Concatenate[Pairs, P], ObjectiveOutput]],
    Callable[Concatenate[Read, P], ObjectiveOutput],
]: ...


@overload
def objective(
    name: str,
    *,
    reads: Literal["rated_pairs", "branches"],
    uses_reference: bool = True,
    measures: Measured | None = None,
    state: Callable[..., State] | None = None,
) -> Callable[[Loss], Loss]: ...


def objective(
    name: str,
    *,
    reads: Shape = "pairs",
    uses_reference: bool = True,
    measures: Measured | None = None,
    state: Callable[..., State] | None = None,
) -> Any:
    """Register a loss by its name; see `ObjectiveSpec` for the rest.

    A loss of pairs is written as a function of `Pairs`, any other as a function of `BranchLogps`;
    its options are its keyword-only parameters.

    Args:
        state: (whole batch, state before it, *, <options>) -> state for it; the loss then takes a
            `state`, too.
    """

    def register(loss: Callable[..., ObjectiveOutput]) -> Callable[..., ObjectiveOutput]:
        functions = [loss] if state is None else [loss, state]
        made = on_pairs(loss) if reads == "pairs" else loss
        OBJECTIVES.add(
            ObjectiveSpec(
                name=name,
                make=made,
                options=options_of(*functions, besides=["state"]),
                reads=reads,
                uses_reference=uses_reference,
                measures=measures,
                advance=state,
            )
        )
        return made

    return register


def make_objective(name: str, **options: object) -> Objective | Stateful:
    """Fill in an objective's options.

    Raises:
        ConfigError: an option is missing, or is none of this objective's.
    """
    spec = OBJECTIVES[name]
    if set(spec.option_names) != options.keys():
        raise ConfigError(
            f"The objective {name} got the options {sorted(options)}, expected exactly "
            f"{sorted(spec.option_names)}; see conf/objective/{name}.yaml."
        )
    if spec.advance is None:
        return partial(spec.make, **options)
    loss = partial(spec.make, **keywords_of(spec.make, options))
    advance = partial(spec.advance, **keywords_of(spec.advance, options))
    return Stateful(advance, lambda branches, state: loss(branches, state=state))


def pairs(branches: BranchLogps) -> Pairs:
    """Read branches as pairs.

    Raises:
        TrainingError: when the branches are not laid out chosen, rejected, chosen, rejected, ...
    """
    count = len(branches.win_prob_B)
    if count == 0 or count % 2:
        raise TrainingError(
            f"A pairwise objective got {count} branches, expected pairs (chosen, rejected); "
            "use a pairing that makes pairs, or an objective on groups such as sppo."
        )
    wanted_B = torch.tensor([1, 0], device=branches.win_prob_B.device).repeat(count // 2)
    wrong_B = branches.win_prob_B != wanted_B
    if wrong_B.any():
        place = int(wrong_B.nonzero()[0])
        raise TrainingError(
            f"A pairwise objective got win_prob {float(branches.win_prob_B[place]):g} at branch "
            f"{place}, expected {1 - place % 2} (1 for chosen, 0 for rejected, in turn); "
            "use a pairing that makes pairs, or an objective on groups such as sppo."
        )
    return Pairs(chosen=_every_second(branches, 0), rejected=_every_second(branches, 1))


def _every_second(branches: BranchLogps, start: int) -> BranchLogps:
    rows: dict[str, Any] = {n: v[start::2] for n, v in _columns(branches).items()}
    return replace(branches, **rows)


def join(parts: Sequence[BranchLogps]) -> BranchLogps:
    """Put the parts of one batch together again; what one of them lacks, the whole lacks."""
    joined: dict[str, Any] = {}
    for name in set.intersection(*(set(_columns(part)) for part in parts)):
        columns = [_columns(part)[name] for part in parts]
        if name.endswith("_BT"):
            turns = max(column.shape[1] for column in columns)
            columns = [
                torch.nn.functional.pad(column, (0, turns - column.shape[1])) for column in columns
            ]
        joined[name] = torch.cat(columns)
    return BranchLogps(**joined)


def needed(values: Tensor | None, name: str, objective: str) -> Tensor:
    """The measurement, which is optional in general but not for this objective.

    Raises:
        TrainingError: it was not made.
    """
    if values is None:
        raise TrainingError(
            f"{objective} got branches without {name}, expected it to be measured; name it in "
            "@objective(measures=...), so that the update measures it."
        )
    return values
