"""Under a provider that fails in every way, 64 callers all get answers, and no cent is lost."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from engines.chat import ChatRequest, Message, Reply
from engines.remote.client import RemoteChat
from engines.remote.endpoint import Endpoint
from engines.remote.ledger import Ledger
from engines.remote.limits import Limiter
from engines.remote.prices import Price
from engines.remote.retries import Retries
from engines.remote.usage_totals import UsageReport
from envs.errors import BudgetError, RemoteError
from tests.engines.remote_provider import FAULTS, REFUSED, Fault, Provider

CALLERS = 64
PRICE = Price(input_usd_per_mtok=0.15, output_usd_per_mtok=0.6)  # 150 and 600 nano-dollars a token
QUICK = Retries(max_attempts=30, base_s=0.001, cap_s=0.05)


def question(number: int) -> ChatRequest:
    words = "word " * (number % 7)
    return ChatRequest((Message("user", f"{words}question {number}"),), 1.0, max_tokens=20)


@dataclass
class Outcome:
    """What became of one caller's questions."""

    replies: dict[int, Reply]
    stopped: BudgetError | None = None


async def caller(chat: RemoteChat, numbers: range) -> Outcome:
    """Ask one question after the other, until the money is gone."""
    outcome = Outcome({})
    for number in numbers:
        try:
            outcome.replies[number] = await chat.ask(question(number))
        except BudgetError as error:
            outcome.stopped = error
            break
    return outcome


def run(
    provider: Provider,
    questions: int,
    *,
    path: Path | None = None,
    budget_usd: float | None = None,
    max_calls: int | None = None,
) -> tuple[list[Outcome], UsageReport]:
    """64 callers share so many different questions."""

    async def main() -> tuple[list[Outcome], UsageReport]:
        async with provider:
            with Ledger(path, budget_usd=budget_usd, max_calls=max_calls) as ledger:
                chat = RemoteChat(
                    Endpoint("model-a", base_url=provider.base_url, price=PRICE),
                    ledger=ledger,
                    limiter=Limiter(max_concurrent=CALLERS),
                    retries=QUICK,
                    rng=random.Random(0),
                )
                try:
                    shares = [range(n, questions, CALLERS) for n in range(CALLERS)]
                    outcomes = await asyncio.gather(*(caller(chat, share) for share in shares))
                finally:
                    await chat.close()
                return outcomes, ledger.totals()

    return asyncio.run(main())


def answered(outcomes: list[Outcome]) -> dict[int, Reply]:
    return {number: reply for outcome in outcomes for number, reply in outcome.replies.items()}


def test_thousands_of_calls_with_a_third_of_them_failing(tmp_path: Path) -> None:
    quick_faults = [fault for fault in FAULTS if fault != "hangs"]
    provider = Provider(fault_rate=0.3, faults=quick_faults, latency_s=0.001)
    outcomes, totals = run(provider, 3000, path=tmp_path / "ledger.sqlite")
    replies, account = answered(outcomes), provider.account

    # Every caller has the answer to its own question, each of which was delivered once.
    assert all(f"re: {question(n).messages[0].content}" == r.text for n, r in replies.items())
    assert account.answers == Counter(question(n).messages[0].content for n in range(3000))
    assert set(account.faults) == {"None", *quick_faults}

    # The ledger's dollars are the provider's, and what cannot be known bounds what got lost.
    assert totals.settled_nusd == account.delivered
    assert sum(reply.cost_usd or 0.0 for reply in replies.values()) == pytest.approx(
        totals.settled_usd, abs=1e-9
    )
    assert 0 < account.undelivered <= totals.uncertain_nusd
    assert totals.open_calls == totals.reserved_nusd == totals.exceeding_calls == 0

    # Each HTTP request was counted once.
    unknown = account.requests - 3000 - account.faults["busy"] - account.faults["busy_for_a_while"]
    assert totals.calls + totals.refused_calls == account.requests
    assert (totals.calls, totals.uncertain_calls) == (3000 + unknown, unknown)
    assert account.most_at_once <= CALLERS


@pytest.mark.parametrize("fault_rate", [0.0, 0.3, 1.0])
def test_a_budget_is_never_exceeded(fault_rate: float) -> None:
    # A question costs at most about 0.1 thousandths of a dollar to reserve: some 200 fit.
    quick_faults = [fault for fault in FAULTS if fault != "hangs"]
    provider = Provider(fault_rate=fault_rate, faults=quick_faults, latency_s=0.001)
    budget_nusd = 10_000_000
    outcomes, totals = run(provider, 4000, budget_usd=0.01)
    assert provider.account.most <= budget_nusd  # at any moment, by the provider's own books
    assert totals.settled_nusd == provider.account.delivered
    assert totals.settled_nusd + totals.uncertain_nusd <= budget_nusd
    # All that were stopped were stopped when not one more worst case did fit.
    assert all(outcome.stopped for outcome in outcomes)
    worst_nusd = (256 + 16 + 45) * 150 + 20 * 600
    assert totals.settled_nusd + totals.uncertain_nusd > budget_nusd - worst_nusd
    assert "raise budget_usd" in str(outcomes[0].stopped)


@pytest.mark.parametrize("faults", [(), ("broken", "cut", "truncated")])
def test_max_calls_is_exact(faults: tuple[Fault, ...]) -> None:
    provider = Provider(faults=faults, fault_rate=0.3 if faults else 0.0)
    outcomes, totals = run(provider, 4000, max_calls=500)
    assert provider.account.requests == totals.calls == 500
    assert len(answered(outcomes)) == provider.account.answers.total()
    assert "max_calls is 500" in str(outcomes[0].stopped)


def test_a_refused_call_costs_no_call() -> None:
    provider = Provider(faults=[*REFUSED[:2]], fault_rate=0.5)  # 429s
    _, totals = run(provider, 4000, max_calls=300)
    assert totals.calls == 300
    assert provider.account.requests == 300 + totals.refused_calls
    assert totals.refused_calls > 100


def test_hanging_calls_are_given_up_and_asked_again() -> None:
    async def main() -> None:
        async with Provider(script=["hangs"] * 16) as provider:
            with Ledger(None) as ledger:
                chat = RemoteChat(
                    Endpoint("model-a", base_url=provider.base_url, price=PRICE, timeout_s=0.5),
                    ledger=ledger,
                    limiter=Limiter(),
                    retries=QUICK,
                )
                outcomes = await asyncio.gather(*(caller(chat, range(n, n + 1)) for n in range(16)))
                await chat.close()
                assert sorted(answered(outcomes)) == list(range(16))
                assert ledger.totals().uncertain_calls == 16
                assert ledger.totals().settled_nusd == provider.account.delivered

    asyncio.run(main())


def test_what_never_answers_fails_with_the_last_reason() -> None:
    async def main() -> None:
        async with Provider(fault_rate=1.0, faults=["broken"]) as provider:
            with Ledger(None) as ledger:
                chat = RemoteChat(
                    Endpoint("model-a", base_url=provider.base_url, price=PRICE),
                    ledger=ledger,
                    limiter=Limiter(),
                    retries=Retries(max_attempts=3, base_s=0.001),
                )
                with pytest.raises(RemoteError, match=r"answered 500.*attempt 3, the last one"):
                    await chat.ask(question(0))
                await chat.close()
                assert ledger.totals().uncertain_calls == provider.account.requests == 3

    asyncio.run(main())
