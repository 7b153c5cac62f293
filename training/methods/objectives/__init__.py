"""Objectives by name: pure functions of branch log-probs, options as keyword arguments.

To add one, write the function and name it here; docs/methods.md says what each is for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Literal

from envs.errors import ConfigError
from training.methods.objectives.base import Objective, ObjectiveOutput, State, Stateful
from training.methods.objectives.beta_dpo import beta_dpo, beta_dpo_state
from training.methods.objectives.binary import bco, bco_state, kto, kto_state
from training.methods.objectives.convex import gpo, hinge, ipo
from training.methods.objectives.dpo import cdpo, dpo, robust_dpo
from training.methods.objectives.guarded import dpop, r_dpo
from training.methods.objectives.likelihood import preferred_sft
from training.methods.objectives.nash import inpo
from training.methods.objectives.reference_free import cpo, orpo, simpo, slic
from training.methods.objectives.sdpo import sdpo
from training.methods.objectives.sppo import sppo, sppo_pair
from training.methods.objectives.tokens import tdpo1, tdpo2
from training.methods.objectives.turns import dmpo

OBJECTIVES: dict[str, Callable[..., ObjectiveOutput]] = {
    "bco": bco,
    "beta_dpo": beta_dpo,
    "cdpo": cdpo,
    "cpo": cpo,
    "dmpo": dmpo,
    "dpo": dpo,
    "dpop": dpop,
    "gpo": gpo,
    "hinge": hinge,
    "inpo": inpo,
    "ipo": ipo,
    "kto": kto,
    "orpo": orpo,
    "preferred_sft": preferred_sft,
    "r_dpo": r_dpo,
    "robust_dpo": robust_dpo,
    "sdpo": sdpo,
    "simpo": simpo,
    "slic": slic,
    "sppo": sppo,
    "sppo_pair": sppo_pair,
    "tdpo1": tdpo1,
    "tdpo2": tdpo2,
}

STATES: dict[str, Callable[..., State]] = {
    "bco": bco_state,
    "beta_dpo": beta_dpo_state,
    "kto": kto_state,
}
"""How the state of an objective advances by a batch, where it has one."""

Need = Literal["kl", "mismatched", "anchor"]

NEEDS: dict[str, Need] = {
    "inpo": "anchor",
    "kto": "mismatched",
    "tdpo1": "kl",
    "tdpo2": "kl",
}
"""What an objective wants measured that costs passes of its own (`learning.reference`)."""

_NO_OPTIONS = frozenset({"branches", "state"})


def option_names(name: str) -> frozenset[str]:
    """The options of an objective, all of them to be set: its keyword arguments and its state's."""
    functions = [OBJECTIVES[name], *([STATES[name]] if name in STATES else [])]
    return frozenset().union(*(inspect.signature(f).parameters for f in functions)) - _NO_OPTIONS


def make_objective(name: str, **options: object) -> Objective | Stateful:
    """Fill in an objective's options.

    Raises:
        ConfigError: an option is missing, or is none of this objective's.
    """
    wanted = option_names(name)
    if wanted != options.keys():
        raise ConfigError(
            f"The objective {name} got the options {sorted(options)}, expected exactly "
            f"{sorted(wanted)}; see conf/objective/{name}.yaml."
        )
    if name not in STATES:
        return partial(OBJECTIVES[name], **options)
    loss = partial(OBJECTIVES[name], **_own(OBJECTIVES[name], options))
    advance = partial(STATES[name], **_own(STATES[name], options))
    return Stateful(advance, lambda branches, state: loss(branches, state=state))


def _own(function: Callable[..., object], options: dict[str, object]) -> dict[str, object]:
    names = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in names}
