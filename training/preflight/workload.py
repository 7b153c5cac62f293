"""Counts, from the options alone, how much of a command's work may need a model behind an API.

How long dialogues get, and how many episodes are poor, is unknown before a run; the constants
below state what is assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from envs.social import view_of
from judges.calibration.run import count_judgements
from training.config import RunConfig
from training.evaluation.calibration_sources import calibration_sources
from training.evaluation.held_out import evaluation_partners, held_out
from training.storage.checkpoint import bc_checkpoint_of

TURNS_SHARE = 2 / 3
"""Assumed length of an episode, as a share of the turn limit."""

POOR_SHARE = 0.5
"""Assumed share of the episodes a critic looks at that have a turn worth branching from."""


TURN_TOKENS = {"brief": 10, "full": 50}
"""Assumed tokens of a turn, by prompt style; the next player reads them, too."""

NOTE_TOKENS = {"brief": 0, "full": 20}
"""Assumed tokens of the private note before a turn, where experts teach it."""

FRAME_TOKENS = {"brief": 4, "full": 25}
"""Assumed tokens around each turn: the template's, how many turns are left."""

SCENE_TOKENS = 700
"""Assumed tokens of the instructions and the scene where its files are not read beforehand."""

CHARS_PER_TOKEN = {"brief": 4.5, "full": 4}
"""Rough characters per token: the small model has words, current models pieces of English."""


def tokens_of(characters: int, style: str = "full") -> int:
    """Estimate the tokens of a text by its length, rounded up."""
    return math.ceil(characters / CHARS_PER_TOKEN[style])


def opening_tokens(config: RunConfig) -> int:
    """Estimate the tokens of the instructions and the scene."""
    policy = config.policy
    if config.env.path is not None:
        return SCENE_TOKENS
    (scenario,) = config.env.draw("train", 1)
    return tokens_of(len(policy.style.system(view_of(scenario, 0))), policy.prompt_style)


def dialogue_tokens(config: RunConfig, turns: float) -> int:
    """Estimate the tokens of a dialogue of that many turns, as one seat reads and says them."""
    style = config.policy.prompt_style
    return opening_tokens(config) + math.ceil(turns * (turn_tokens(config) + FRAME_TOKENS[style]))


def turn_tokens(config: RunConfig) -> int:
    """Estimate the tokens of one turn of the policy."""
    style = config.policy.prompt_style
    learns_notes = config.cloning.dialogues and config.cloning.notes
    return TURN_TOKENS[style] + (NOTE_TOKENS[style] if learns_notes else 0)


@dataclass(frozen=True, slots=True)
class Workload:
    """How often a command plays, judges, locates errors and compares.

    Attributes:
        played: whole episodes, by the role that a model may have in them: "partner" or "policy".
        judged: episodes that a judge scores.
        located: episodes that a critic looks at.
        compared: pairs of continuations that a judge compares, each in both orders.
    """

    played: dict[str, float]
    judged: float
    located: float = 0
    compared: float = 0


def evaluation_workload(config: RunConfig) -> Workload:
    """The work of `training.evaluate`, for the policy, its bc and the stubborn control."""
    scenarios = held_out(config)
    has_bc = bc_checkpoint_of(config.policy.name) is not None
    has_control = has_bc and config.evaluation.stubborn_bias and not config.env.has_scenes
    policies = 1 + has_bc + bool(has_control)
    partners = set(evaluation_partners(config, has_bc=has_bc))
    self_play = len(scenarios.scenarios) * scenarios.episodes * policies
    per_partner = self_play * (2 if scenarios.both_seats else 1)
    with_partners = per_partner * len(partners - {"self"})
    with_self = self_play if "self" in partners else 0
    return Workload(
        {
            "partner": per_partner if "model" in partners else 0,
            "policy": with_partners + 2 * with_self,  # in self-play it holds both seats
        },
        judged=with_partners + with_self,
    )


def training_workload(config: RunConfig) -> Workload:
    """The work of `training.loop`."""
    branch, evaluation = config.branch, config.evaluation
    weights = config.partner.weights
    share = weights.get("model", 0.0) / sum(weights.values())
    measured = config.critic.measured_share
    probes = branch.probes * config.env.max_turns * TURNS_SHARE / 2
    continued = branch.points * (branch.continuations + measured * probes / POOR_SHARE)
    episodes = config.iterations * (config.collect.episodes + continued)
    curve = evaluation.points(config.iterations) * evaluation.curve_scenarios * 3
    seats = 2 if evaluation.both_seats else 1  # except in self-play
    final = evaluation.scenarios * evaluation.episodes * (1 + 2 * seats)
    final *= 3 if evaluation.stubborn_bias else 2
    played = {"partner": config.iterations * (config.collect.episodes + continued / 2) * share}
    demonstrated = config.cloning.dialogues if config.demonstrations.spec.plays else 0
    if demonstrated:
        played["demonstrations"] = 2 * demonstrated  # its model holds both seats
    pairs = (branch.continuations + 1) * branch.continuations / 2
    return Workload(
        # A branch starts in the middle of an episode, so it is about half of one.
        played,
        judged=episodes + curve + final + demonstrated,
        located=config.iterations * branch.points * config.critic.asked_share / POOR_SHARE,
        compared=config.iterations * branch.points * pairs
        if config.pairing.preferences == "judge"
        else 0,
    )


def calibration_workload(config: RunConfig) -> Workload:
    """The work of `judges.calibrate`."""
    options = config.calibration
    judged = count_judgements(
        calibration_sources(config), n_rejudged=options.twice, with_canaries=options.canaries
    )
    return Workload({}, judged=judged)
