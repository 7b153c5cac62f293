"""What a run would call and cost, from its options alone: python -m training.loop ... dry_run=true

Prompts are measured on the first scenario; how long dialogues get and how many episodes are poor
is not known before, and is taken as stated below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pkgutil import resolve_name

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agents.prompts import STYLES
from agents.remote import ASKS_AGAIN
from engines.models import ModelConfig, models_in
from engines.remote.client import price_at
from engines.remote.estimate import Estimate, PlannedCalls, estimate, judge_calls, partner_calls
from engines.remote.tallies import Account, dollars
from envs.errors import ConfigError
from envs.social import view_of
from envs.types import EndReason, Episode, Scenario
from judges.calibration.run import judgements
from judges.rubric import rubric_request
from judges.transcript_view import labels
from training.config import RunConfig
from training.config.endpoint import endpoint_of
from training.evaluation.calibration_sources import sources
from training.evaluation.held_out import held_out, with_files
from training.storage.checkpoint import clone_beside

CHARS_PER_TOKEN = 4
"""Of English text, roughly, in the vocabularies of today's models."""

TURNS_SHARE = 2 / 3
"""How long episodes usually are, as a share of the turn limit."""

TOKENS_PER_TURN = 50
REPLY_TOKENS = 350
"""Of a judge, for two agents and seven dimensions with reasons."""

MAX_ASKS = 3
POOR_SHARE = 0.5
"""Of the places that a critic looks at, how many are worth branching from."""


@dataclass(frozen=True, slots=True)
class Plans:
    """How often what is done that may need a model behind an API.

    Attributes:
        played: whole episodes, by the role of who plays one seat: "partner" or "policy".
        judged: episodes that a judge scores.
        located: episodes that a critic looks at.
        compared: pairs of continuations that are compared, each in both orders.
    """

    played: dict[str, float]
    judged: float
    located: float = 0
    compared: float = 0


def evaluation_plans_of(config: RunConfig) -> Plans:
    """What `training.evaluate` will do: the policy plays, and its clone and the control if any."""
    scenarios = held_out(config)
    has_clone = clone_beside(config.policy.name) is not None
    has_control = has_clone and config.evaluation.stubborn_bias and not config.env.has_scenes
    policies = 1 + has_clone + bool(has_control)
    partners = {name for name, weight in config.partner.weights.items() if weight > 0}
    partners -= set() if has_clone else {"frozen_bc"}
    partners -= {"experts"} if config.env.has_scenes else set()
    alone = len(scenarios.scenarios) * scenarios.episodes * policies
    against = alone * (2 if scenarios.both_seats else 1)
    others = against * len(partners - {"self"})
    itself = alone if "self" in partners else 0
    return Plans(
        {
            "partner": against if "model" in partners else 0,
            "policy": others + 2 * itself,  # against itself it holds both seats
        },
        judged=others + itself,
    )


def training_plans_of(config: RunConfig) -> Plans:
    """What `training.loop` will do."""
    branch, evaluation = config.branch, config.evaluation
    weights = config.partner.weights
    share = weights.get("model", 0.0) / sum(weights.values())
    measured = config.critic.measured_share
    probes = branch.probes * config.env.max_turns * TURNS_SHARE / 2
    continued = branch.points * (branch.continuations + measured * probes / POOR_SHARE)
    episodes = config.iterations * (config.collect.episodes + continued)
    curve = config.iterations / evaluation.every * evaluation.curve_scenarios * 3
    seats = 2 if evaluation.both_seats else 1  # but for self-play
    final = evaluation.scenarios * evaluation.episodes * (1 + 2 * seats)
    final *= 3 if evaluation.stubborn_bias else 2
    asked = config.critic.asked_share
    pairs = (branch.continuations + 1) * branch.continuations / 2
    return Plans(
        # A branch goes on from the middle, so it is about half an episode.
        {"partner": config.iterations * (config.collect.episodes + continued / 2) * share},
        judged=episodes + curve + final,
        located=config.iterations * branch.points * asked / POOR_SHARE,
        compared=config.iterations * branch.points * pairs
        if config.pairing.preferences == "judge"
        else 0,
    )


def calibration_plans_of(config: RunConfig) -> Plans:
    """What `judges.calibrate` will do."""
    wanted = config.calibration
    asked = judgements(sources(config), twice=wanted.twice, with_canaries=wanted.canaries)
    return Plans({}, judged=asked)


def cost_estimate(config: RunConfig, plans: Plans) -> Estimate:
    """Calls, tokens and dollars of all models behind APIs, by purpose."""
    return estimate(_planned(config, plans))


def _planned(config: RunConfig, plans: Plans) -> Iterator[PlannedCalls]:
    scenario = held_out(config).scenarios[0]
    for role, model in (("partner", config.partner.model), ("policy", config.policy.model)):
        if model is not None and plans.played.get(role):
            yield _seat(config, role, model, plans.played[role], scenario)
    judge = config.judge
    for model in models_in(judge.options).values():
        yield _reader(config, "judge", model, plans.judged, judge.samples, scenario)
    if plans.compared and judge.model is not None:
        yield _reader(config, "judge", judge.model, plans.compared, 2, scenario)
    if plans.located and config.critic.model is not None:
        yield _reader(config, "critic", config.critic.model, plans.located, 1, scenario)


def _seat(
    config: RunConfig, role: str, model: ModelConfig, episodes: float, scenario: Scenario
) -> PlannedCalls:
    endpoint = endpoint_of(model)
    style = STYLES[model.prompt_style]
    return partner_calls(
        Account(role, endpoint.id),
        price_at(endpoint),
        episodes=round(episodes),
        turns=_usual_turns(config),
        max_turns=config.env.max_turns,
        first_prompt_tokens=_tokens(style.system(view_of(scenario, 0))),
        tokens_per_turn=min(TOKENS_PER_TURN, model.max_tokens),
        max_tokens=model.max_tokens,
        max_asks=1 + ASKS_AGAIN,
    )


def _reader(
    config: RunConfig,
    purpose: str,
    model: ModelConfig,
    judgements: float,
    samples: int,
    scenario: Scenario,
) -> PlannedCalls:
    endpoint = endpoint_of(model)
    empty = Episode(scenario, (), EndReason.STALE, None)
    question = rubric_request(empty, labels(len(scenario.goals), swapped=False), seed=0)
    return judge_calls(
        Account(purpose, endpoint.id),
        price_at(endpoint),
        judgements=round(judgements),
        samples=samples,
        max_attempts=MAX_ASKS,
        rules_tokens=sum(_tokens(message.content) for message in question.messages),
        turns=_usual_turns(config),
        max_turns=config.env.max_turns,
        tokens_per_turn=TOKENS_PER_TURN,
        max_tokens_per_turn=_longest_turn(config),
        reply_tokens=min(REPLY_TOKENS, model.max_tokens),
        max_tokens=model.max_tokens,
    )


def _usual_turns(config: RunConfig) -> int:
    return max(2, round(config.env.max_turns * TURNS_SHARE))


def _longest_turn(config: RunConfig) -> int:
    """Of whoever may play, in tokens."""
    asked = (config.partner.model, config.policy.model)
    return max([config.policy.max_new_tokens, *(model.max_tokens for model in asked if model)])


def _tokens(text: str) -> int:
    return -(-len(text) // CHARS_PER_TOKEN)


def print_cost_estimate(config: RunConfig, plans: str | None) -> None:
    """Print what the run would call.

    Args:
        plans: "package.module:function" that says how much is done; None where that is not known.
    """
    if plans is None:
        raise ConfigError("This command has no dry run; set dry_run=false.")
    config = with_files(config)
    if config.device == "cuda":
        from training.preflight.memory import check_memory

        check_memory(config, Console())
    show_cost_estimate(Console(), cost_estimate(config, resolve_name(plans)(config)))


def show_cost_estimate(console: Console, coming: Estimate) -> None:
    """Print a line a purpose and model, and all together."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in ("", "model", "calls", "tokens", "cost", "at most"):
        table.add_column(name, justify="left" if name in ("", "model") else "right")
    for line in coming.lines:
        tokens = line.expected.prompt_tokens + line.expected.completion_tokens
        costs = [dollars(load.cost_nusd) for load in (line.expected, line.worst)]
        table.add_row(
            line.account.purpose,
            escape(line.account.model),
            f"{line.expected.calls:,}",
            f"{tokens:,}",
            *(costs if line.is_price_known else ("unknown", "unknown")),
        )
    if coming.lines:
        console.print(table)
    console.print(f"A dry run: {escape(coming.describe())}. Nothing was called.", soft_wrap=True)
