"""Estimates what a run's API calls will cost, from its options: dry_run=true.

Prompts are measured on the first scenario. How long dialogues and replies get is unknown before a
run; the constants below and in `workload` state what is assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agents.prompts import STYLES
from agents.remote import ASKS_AGAIN
from engines.models import ModelConfig, models_in
from engines.remote.client import price_at
from engines.remote.estimate import Estimate, PlannedCalls, estimate, judge_calls, partner_calls
from engines.remote.usage_totals import Account, dollars
from envs.social import view_of
from envs.types import EndReason, Episode, Scenario
from judges.rubric import rubric_request
from judges.transcript_view import labels
from training.config import RunConfig
from training.config.endpoint import endpoint_of
from training.evaluation.held_out import held_out, with_files
from training.preflight.workload import TURN_TOKENS, TURNS_SHARE, Workload, tokens_of

REPLY_TOKENS = 350
"""Assumed tokens of a judge's reply: two agents, seven dimensions with reasons."""

MAX_ASKS = 3
"""How often a judge is asked at most, because its reply could not be parsed."""


def cost_estimate(config: RunConfig, workload: Workload) -> Estimate:
    """Estimate calls, tokens and dollars of all models behind APIs, by purpose."""
    return estimate(_planned(config, workload))


def _planned(config: RunConfig, workload: Workload) -> Iterator[PlannedCalls]:
    scenario = held_out(config).scenarios[0]
    players = {
        "partner": config.partner.model,
        "policy": config.policy.model,
        "demonstrations": config.demonstrations.model,
    }
    for role, model in players.items():
        if model is not None and workload.played.get(role):
            yield _player_calls(config, role, model, workload.played[role], scenario)
    judge = config.judge
    for model in models_in(judge.options).values():
        yield _judge_calls(config, "judge", model, workload.judged, judge.samples, scenario)
    if workload.compared and judge.model is not None:
        yield _judge_calls(config, "judge", judge.model, workload.compared, 2, scenario)
    if workload.located and config.critic.model is not None:
        yield _judge_calls(config, "critic", config.critic.model, workload.located, 1, scenario)


def _player_calls(
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
        first_prompt_tokens=tokens_of(len(style.system(view_of(scenario, 0)))),
        tokens_per_turn=min(TURN_TOKENS["full"], model.max_tokens),
        max_tokens=model.max_tokens,
        max_asks=1 + ASKS_AGAIN,
    )


def _judge_calls(
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
        rules_tokens=sum(tokens_of(len(message.content)) for message in question.messages),
        turns=_usual_turns(config),
        max_turns=config.env.max_turns,
        tokens_per_turn=TURN_TOKENS["full"],
        max_tokens_per_turn=_longest_turn(config),
        reply_tokens=min(REPLY_TOKENS, model.max_tokens),
        max_tokens=model.max_tokens,
    )


def _usual_turns(config: RunConfig) -> int:
    return max(2, round(config.env.max_turns * TURNS_SHARE))


def _longest_turn(config: RunConfig) -> int:
    """The longest turn that any player may write, in tokens."""
    models = (config.partner.model, config.policy.model)
    return max([config.policy.max_new_tokens, *(model.max_tokens for model in models if model)])


def print_cost_estimate(
    config: RunConfig, count: Callable[[RunConfig], Workload], *, trains: bool = False
) -> None:
    """Print the calls and costs of a run, and of training its memory and time, without running it.

    Args:
        count: counts the command's work from its options.
    """
    config = with_files(config)
    if trains or config.device == "cuda":
        from training.preflight.memory import check_memory

        check_memory(config, Console())
    if trains:
        from training.preflight.duration import print_duration

        print_duration(config, Console())
    show_cost_estimate(Console(), cost_estimate(config, count(config)))


def show_cost_estimate(console: Console, costs: Estimate) -> None:
    """Print one line per purpose and model, and the total."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in ("", "model", "calls", "tokens", "cost", "at most"):
        table.add_column(name, justify="left" if name in ("", "model") else "right")
    for line in costs.lines:
        tokens = line.expected.prompt_tokens + line.expected.completion_tokens
        bounds = [dollars(load.cost_nusd) for load in (line.expected, line.worst)]
        table.add_row(
            line.account.purpose,
            escape(line.account.model),
            f"{line.expected.calls:,}",
            f"{tokens:,}",
            *(bounds if line.is_price_known else ("unknown", "unknown")),
        )
    if costs.lines:
        console.print(table)
    console.print(f"A dry run: {escape(costs.describe())}. Nothing was called.", soft_wrap=True)
