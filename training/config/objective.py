"""What is minimised, as options: which objective, and the numbers that it asks for.

Only the chosen objective's own options may be set, and all of them must be.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from envs.errors import ConfigError
from training.config.options import NonNegative, Positive, Range, Share

OPTIONS: dict[str, tuple[str, ...]] = {
    "bco": ("beta", "momentum"),
    "beta_dpo": ("alpha", "beta", "keep", "momentum"),
    "cdpo": ("beta", "flip_prob"),
    "cpo": ("beta", "nll_weight"),
    "dmpo": ("beta", "discounted", "gamma"),
    "dpo": ("beta",),
    "dpop": ("beta", "penalty"),
    "gpo": ("beta", "convex"),
    "hinge": ("beta",),
    "inpo": ("anchor_weight", "eta"),
    "ipo": ("beta", "per_token"),
    "kto": ("beta", "chosen_weight", "rejected_weight"),
    "orpo": ("beta",),
    "preferred_sft": (),
    "r_dpo": ("alpha", "beta"),
    "robust_dpo": ("beta", "flip_prob"),
    "sdpo": ("beta",),
    "simpo": ("beta", "gamma"),
    "slic": ("delta", "nll_weight"),
    "sppo": ("eta",),
    "sppo_pair": ("eta",),
    "tdpo1": ("beta",),
    "tdpo2": ("alpha", "beta"),
}
"""Objective -> its options. Written out, because the registry imports torch; a test compares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveConfig:
    """What is minimised; docs/methods.md has the formulas and usual values.

    Attributes:
        alpha: what moves the margin beside log-probs: the KL (tdpo2), a token of length (r_dpo),
            or the batch's own margin (beta_dpo).
        anchor_weight: share of the first policy in what the policy is held to (inpo).
        beta: how strongly the policy is held to the reference, per nat; where there is no
            reference, how steep the loss is.
        chosen_weight: weight of good branches (kto).
        convex: function of the margin (gpo).
        delta: wanted difference of log-probs, nats (slic).
        discounted: whether later turns are discounted by gamma, too (dmpo).
        eta: by how many nats winning always and losing always shall differ (sppo, inpo).
        flip_prob: probability that a pair is labelled the wrong way round (cdpo, robust_dpo).
        gamma: discount of turns, at most 1 (dmpo), or target margin (simpo).
        keep: share of pairs that is kept (beta_dpo).
        momentum: weight of earlier batches in a running mean (beta_dpo, bco).
        nll_weight: weight of the chosen branches' negative log-likelihood inside the objective
            (cpo, slic); `update.nll_weight` comes on top for every objective.
        penalty: weight of what chosen branches fall below the reference (dpop).
        per_token: whether log-ratios are means over tokens (ipo).
        rejected_weight: weight of bad branches (kto).
    """

    name: Literal[
        "bco",
        "beta_dpo",
        "cdpo",
        "cpo",
        "dmpo",
        "dpo",
        "dpop",
        "gpo",
        "hinge",
        "inpo",
        "ipo",
        "kto",
        "orpo",
        "preferred_sft",
        "r_dpo",
        "robust_dpo",
        "sdpo",
        "simpo",
        "slic",
        "sppo",
        "sppo_pair",
        "tdpo1",
        "tdpo2",
    ]
    alpha: NonNegative | None = None
    anchor_weight: Share | None = None
    beta: Positive | None = None
    chosen_weight: NonNegative | None = None
    convex: Literal["logistic", "hinge", "squared", "exponential", "truncated_quadratic"] | None = (
        None
    )
    delta: NonNegative | None = None
    discounted: bool | None = None
    eta: Positive | None = None
    flip_prob: Annotated[float, Range(at_least=0, at_most=0.5)] | None = None
    gamma: Positive | None = None
    keep: Annotated[float, Range(above=0, at_most=1)] | None = None
    momentum: Share | None = None
    nll_weight: NonNegative | None = None
    penalty: NonNegative | None = None
    per_token: bool | None = None
    rejected_weight: NonNegative | None = None

    @property
    def options(self) -> dict[str, float | str | bool]:
        """Those that are set, by name."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "name"}
        return {name: value for name, value in values.items() if value is not None}


def check_options(objective: ObjectiveConfig) -> None:
    """Whether exactly the objective's own options are set.

    Raises:
        ConfigError: one is missing, or belongs to another objective.
    """
    own, given = OPTIONS[objective.name], objective.options
    for name in own:
        if name not in given:
            raise ConfigError(
                f"objective.{name} is not set, but objective.name={objective.name} needs it; "
                f"add +objective.{name}=VALUE."
            )
    for name in given:
        if name not in own:
            raise ConfigError(
                f"objective.{name} is set, but objective.name={objective.name} has no such "
                "option; leave it out."
            )
