"""Estimates the calls, tokens and dollars of a run's remote calls before the first is made.

Chat models are sent the whole history again with each call, so over a dialogue of n calls the
prompt tokens grow with n squared. Answers from the store and cheaper prompt tokens from a
provider's cache are not deducted; failed attempts that are billed are not added.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from engines.remote.prices import Price
from engines.remote.usage_totals import NUSD_PER_USD, Account, dollars


@dataclass(frozen=True, slots=True)
class Dialogues:
    """A number of similar dialogues, in each of which a model is called with a growing history.

    Attributes:
        dialogues: how many.
        calls: how often the model is called in each.
        first_prompt_tokens: the length of the first call's prompt.
        growth_tokens: by how much each further prompt is longer than the one before.
        reply_tokens: the length of each reply.
    """

    dialogues: int
    calls: int
    first_prompt_tokens: int
    growth_tokens: int
    reply_tokens: int

    def workload(self, price: Price | None) -> Workload:
        """The calls of all dialogues together."""
        prompts = [self.first_prompt_tokens + self.growth_tokens * k for k in range(self.calls)]
        cost = sum(price.cost_nusd(prompt, self.reply_tokens) for prompt in prompts) if price else 0
        return Workload(
            calls=self.dialogues * self.calls,
            prompt_tokens=self.dialogues * sum(prompts),
            completion_tokens=self.dialogues * self.calls * self.reply_tokens,
            cost_nusd=self.dialogues * cost,
        )


@dataclass(frozen=True, slots=True)
class Workload:
    """Numbers of calls and tokens, and their cost in nano-dollars, 0 where the price is unknown."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nusd: int = 0

    def __add__(self, other: Workload) -> Workload:
        return Workload(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Workload)))

    @property
    def cost_usd(self) -> float:
        """What the calls of known price cost."""
        return self.cost_nusd / NUSD_PER_USD


@dataclass(frozen=True, slots=True)
class PlannedCalls:
    """Calls of one kind: the expected number and length, and the most."""

    account: Account
    price: Price | None
    expected: Dialogues
    worst: Dialogues


@dataclass(frozen=True, slots=True)
class EstimateLine:
    """The estimate for one account: a model and a purpose."""

    account: Account
    is_price_known: bool
    expected: Workload
    worst: Workload


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimate for all planned calls, by account and together."""

    lines: tuple[EstimateLine, ...]

    @property
    def expected(self) -> Workload:
        """The expected calls of all accounts."""
        return sum((line.expected for line in self.lines), Workload())

    @property
    def worst(self) -> Workload:
        """The most calls of all accounts."""
        return sum((line.worst for line in self.lines), Workload())

    @property
    def unpriced_models(self) -> tuple[str, ...]:
        """Models of unknown price, whose costs are in none of the sums."""
        unpriced = (line.account.model for line in self.lines if not line.is_price_known)
        return tuple(dict.fromkeys(unpriced))

    def describe(self) -> str:
        """The whole estimate in one sentence."""
        if not self.lines:
            return "no remote calls"
        expected, worst = self.expected, self.worst
        tokens = expected.prompt_tokens + expected.completion_tokens
        cost = f"{dollars(expected.cost_nusd)}, at most {dollars(worst.cost_nusd)}"
        unpriced = ", ".join(self.unpriced_models)
        return (
            f"about {expected.calls:,} calls, at most {worst.calls:,}; about {tokens:,} tokens; "
            f"about {cost}"
            + (f", and what {unpriced} will cost, which is unknown" * bool(unpriced))
        )


def partner_calls(
    account: Account,
    price: Price | None,
    *,
    episodes: int,
    turns: int,
    max_turns: int,
    first_prompt_tokens: int,
    tokens_per_turn: int,
    max_tokens: int,
    max_asks: int,
) -> PlannedCalls:
    """The calls of a partner that plays one of two seats; the other seat begins.

    Args:
        turns: of both seats together, as episodes usually go.
        max_turns: after which an episode is ended.
        first_prompt_tokens: the scenario, the role and the rules.
        tokens_per_turn: what one turn of either seat usually adds to the history.
        max_tokens: after which a reply is cut; in the worst case every turn is as long.
        max_asks: how often it is asked at most for a turn that can be read.
    """
    usual = Dialogues(
        dialogues=episodes,
        calls=-(-turns // 2),
        first_prompt_tokens=first_prompt_tokens + tokens_per_turn,
        growth_tokens=2 * tokens_per_turn,
        reply_tokens=tokens_per_turn,
    )
    worst = Dialogues(
        dialogues=episodes * max_asks,
        calls=-(-max_turns // 2),
        first_prompt_tokens=first_prompt_tokens + max_asks * max_tokens,  # it is shown its reply
        growth_tokens=2 * max_tokens,
        reply_tokens=max_tokens,
    )
    return PlannedCalls(account, price, usual, worst)


def judge_calls(
    account: Account,
    price: Price | None,
    *,
    judgements: int,
    samples: int,
    max_attempts: int,
    rules_tokens: int,
    turns: int,
    max_turns: int,
    tokens_per_turn: int,
    max_tokens_per_turn: int,
    reply_tokens: int,
    max_tokens: int,
) -> PlannedCalls:
    """The calls of a judge or critic that reads whole transcripts.

    Args:
        judgements: episodes, times how often each is judged.
        samples: how many answers are taken for each judgement.
        max_attempts: how often it is asked at most for one answer that can be used.
        rules_tokens: all of its prompt but the transcript.
        reply_tokens: the usual length of its answer, which is cut at `max_tokens`.
    """
    usual = Dialogues(
        dialogues=judgements * samples,
        calls=1,
        first_prompt_tokens=rules_tokens + turns * tokens_per_turn,
        growth_tokens=0,
        reply_tokens=reply_tokens,
    )
    worst = Dialogues(
        dialogues=judgements * samples,
        calls=max_attempts,
        first_prompt_tokens=rules_tokens + max_turns * max_tokens_per_turn,
        growth_tokens=max_tokens,  # it is shown what was wrong with its answer
        reply_tokens=max_tokens,
    )
    return PlannedCalls(account, price, usual, worst)


def estimate(plans: Iterable[PlannedCalls]) -> Estimate:
    """Add up planned calls by purpose and model."""
    lines: dict[Account, EstimateLine] = {}
    for plan in plans:
        old = lines.get(plan.account, EstimateLine(plan.account, True, Workload(), Workload()))
        lines[plan.account] = EstimateLine(
            plan.account,
            old.is_price_known and plan.price is not None,
            old.expected + plan.expected.workload(plan.price),
            old.worst + plan.worst.workload(plan.price),
        )
    return Estimate(tuple(lines.values()))
