"""What a run's remote calls will come to, before the first is made: calls, tokens and dollars.

Chat models are sent the whole history again with each call, so over a dialogue of n calls the
prompt tokens grow with n squared. Nothing is taken off for answers from the store, nor for what a
provider's own cache makes cheaper; nothing is added for attempts that fail and are billed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from engines.remote.prices import Price
from engines.remote.tallies import NUSD_PER_USD, Account, dollars


@dataclass(frozen=True, slots=True)
class Dialogues:
    """Dialogues alike, in each of which a model is called with a history that grows.

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

    def load(self, price: Price | None) -> Load:
        """All calls together."""
        prompts = [self.first_prompt_tokens + self.growth_tokens * k for k in range(self.calls)]
        cost = sum(price.cost_nusd(prompt, self.reply_tokens) for prompt in prompts) if price else 0
        return Load(
            calls=self.dialogues * self.calls,
            prompt_tokens=self.dialogues * sum(prompts),
            completion_tokens=self.dialogues * self.calls * self.reply_tokens,
            cost_nusd=self.dialogues * cost,
        )


@dataclass(frozen=True, slots=True)
class Load:
    """Calls, their tokens, and what they cost in nano-dollars, 0 where the price is not known."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nusd: int = 0

    def __add__(self, other: Load) -> Load:
        return Load(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Load)))

    @property
    def cost_usd(self) -> float:
        """What the calls of known price cost."""
        return self.cost_nusd / NUSD_PER_USD


@dataclass(frozen=True, slots=True)
class PlannedCalls:
    """Calls of one kind: as they are expected, and at most."""

    account: Account
    price: Price | None
    expected: Dialogues
    worst: Dialogues


@dataclass(frozen=True, slots=True)
class Line:
    """What one model comes to for one purpose."""

    account: Account
    is_price_known: bool
    expected: Load
    worst: Load


@dataclass(frozen=True, slots=True)
class Estimate:
    """What all planned calls come to, by purpose and model and together."""

    lines: tuple[Line, ...]

    @property
    def expected(self) -> Load:
        """As expected, all together."""
        return sum((line.expected for line in self.lines), Load())

    @property
    def worst(self) -> Load:
        """At most, all together."""
        return sum((line.worst for line in self.lines), Load())

    @property
    def unpriced_models(self) -> tuple[str, ...]:
        """Models of unknown price, whose costs are in none of the sums."""
        unpriced = (line.account.model for line in self.lines if not line.is_price_known)
        return tuple(dict.fromkeys(unpriced))

    def describe(self) -> str:
        """All together in one sentence, for people."""
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
    """What a partner is asked that plays one of the two seats; the other one has begun.

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
    """What a judge or critic is asked that reads whole transcripts.

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
    lines: dict[Account, Line] = {}
    for plan in plans:
        old = lines.get(plan.account, Line(plan.account, True, Load(), Load()))
        lines[plan.account] = Line(
            plan.account,
            old.is_price_known and plan.price is not None,
            old.expected + plan.expected.load(plan.price),
            old.worst + plan.worst.load(plan.price),
        )
    return Estimate(tuple(lines.values()))
