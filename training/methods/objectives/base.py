"""How objectives are registered, and how a measured batch is laid out as each of them reads it.

An objective is a pure function of log-probs whose options are its keyword-only parameters:

    @objective("dpo")
    def dpo(pairs: Pairs, *, beta: Positive) -> ObjectiveOutput: ...

Its loss is a mean over pairs or over branches, so that a batch may be split and the parts averaged
by their numbers of branches. A number of the whole batch, or of the batches before it, does not fit
into such a mean: it is kept in a state of plain numbers, which a second pure function advances once
a batch (`Stateful`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Concatenate, Literal, TypeVar, overload

from envs.errors import ConfigError, TrainingError
from envs.registry import Component, Registry, described, keywords_of, options_of
from training.methods.objectives.types import (
    LOGPS_WITH,
    BranchLogps,
    Groups,
    Measurement,
    ObjectiveOutput,
    Pairs,
    State,
    pairs_of,
)

Shape = Literal["pairs", "rated_pairs", "branches"]
"""What a pairing gives, from the narrowest to the widest: (chosen, rejected) pairs; the best and
the worst branch of a group with their win rates; any branches."""

Reads = Literal["pairs", "rated_pairs", "branches", "groups"]
"""What a loss takes: `Pairs`; `BranchLogps`, two of each group; any `BranchLogps`; `Groups`."""

_WIDTHS: tuple[Reads, ...] = ("pairs", "rated_pairs", "branches", "groups")

Objective = Callable[[Groups], ObjectiveOutput]
"""An objective with its options filled in, for a measured batch or a part of one."""


@dataclass(frozen=True, slots=True)
class Stateful:
    """An objective that depends on numbers of the whole batch or of earlier batches.

    Attributes:
        advance: (the whole batch without gradient, the state before it) -> the state for it.
        loss: (batch or a part of it, the state for the batch) -> output; a mean like that of an
            `Objective`.
    """

    advance: Callable[[Groups, State], State]
    loss: Callable[[Groups, State], ObjectiveOutput]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveSpec(Component):
    """A registered objective; `make` is its loss.

    Attributes:
        reads: what the loss takes.
        uses_reference: whether the loss depends on the reference's log-probs.
        measures: what it wants measured beside log-probs; most cost passes of their own.
        advance: how its state moves on by a batch, where it has one.
    """

    reads: Reads = "pairs"
    uses_reference: bool = True
    measures: Measurement | None = None
    advance: Callable[..., State] | None = None

    def option_help(self) -> dict[str, str]:
        """What the docstrings of its state and its loss say of each option."""
        state = described(inspect.getdoc(self.advance) or "") if self.advance else {}
        return state | Component.option_help(self)

    def can_read(self, given: Shape) -> bool:
        """Whether it understands what a pairing gives."""
        return _WIDTHS.index(given) <= _WIDTHS.index(self.reads)

    def lay_out(self, batch: Groups) -> Pairs | BranchLogps | Groups:
        """Give a measured batch the form that the loss takes.

        Raises:
            TrainingError: the branches do not lie in that form, or lack what the loss measures.
        """
        branches = batch.branches
        if self.measures and not isinstance(branches, LOGPS_WITH[self.measures]):
            raise TrainingError(
                f"The objective {self.name} got {type(branches).__name__} without its measurement "
                f"{self.measures}, expected it to be measured; give the reference pass "
                f"measures={self.measures!r}."
            )
        if self.reads == "pairs":
            return pairs_of(branches)
        count = len(branches.win_prob_B)
        if self.reads == "rated_pairs" and (count == 0 or count % 2):
            raise TrainingError(
                f"{self.name} got {count} branches, expected two of each group; use a pairing that "
                "takes the best and the worst, or an objective on all of them such as sppo."
            )
        return batch if self.reads == "groups" else branches


OBJECTIVES: Registry[ObjectiveSpec] = Registry(
    "objective", group="objectives", modules=["training.methods.objectives"]
)
"""All objectives by name."""

Loss = TypeVar("Loss", bound=Callable[..., ObjectiveOutput])
PairLoss = TypeVar("PairLoss", bound=Callable[Concatenate[Pairs[Any], ...], ObjectiveOutput])


@overload
def objective(
    name: str,
    *,
    reads: Literal["pairs"] = "pairs",
    uses_reference: bool = True,
    measures: Measurement | None = None,
    state: Callable[..., State] | None = None,
) -> Callable[[PairLoss], PairLoss]: ...


@overload
def objective(
    name: str,
    *,
    reads: Literal["rated_pairs", "branches", "groups"],
    uses_reference: bool = True,
    measures: Measurement | None = None,
    state: Callable[..., State] | None = None,
) -> Callable[[Loss], Loss]: ...


def objective(
    name: str,
    *,
    reads: Reads = "pairs",
    uses_reference: bool = True,
    measures: Measurement | None = None,
    state: Callable[..., State] | None = None,
) -> Callable[[Loss], Loss]:
    """Register a loss by its name; its keyword-only parameters are its options.

    Args:
        name: how people choose it, as in `objective=dpo`; the file conf/objective/NAME.yaml.
        reads: what the loss takes as its only positional argument: "pairs" for `Pairs`,
            "branches" for `BranchLogps`, "groups" for `Groups`, "rated_pairs" for `BranchLogps`
            with the best and the worst branch of each group.
        uses_reference: whether the loss depends on the reference's log-probs.
        measures: what it wants measured beside log-probs. "kl" makes the branches `KlLogps`,
            "turns" `TurnLogps`, "anchor" `AnchorLogps`, "mismatched" `MismatchedLogps`.
        state: (whole batch as the loss takes it, state before it, *, <options>) -> state for it;
            the loss then takes a keyword `state`, too.
    """

    def register(loss: Loss) -> Loss:
        functions = [loss] if state is None else [loss, state]
        OBJECTIVES.add(
            ObjectiveSpec(
                name=name,
                make=loss,
                options=options_of(*functions, besides=["state"]),
                reads=reads,
                uses_reference=uses_reference,
                measures=measures,
                advance=state,
            )
        )
        return loss

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
    loss = partial(spec.make, **keywords_of(spec.make, options))
    if spec.advance is None:
        return lambda batch: loss(spec.lay_out(batch))
    advance = partial(spec.advance, **keywords_of(spec.advance, options))
    return Stateful(
        advance=lambda batch, state: advance(spec.lay_out(batch), state),
        loss=lambda batch, state: loss(spec.lay_out(batch), state=state),
    )
