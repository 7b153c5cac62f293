"""The ledger: no budget is overrun, no call is lost, and what is on file is what is in memory."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from engines.chat import ChatRequest, Message
from engines.remote.ledger import Ledger, PlannedCall, Reservation, Usage
from engines.remote.prices import LongPrompts, Price
from engines.remote.usage_totals import UsageTotals, dollars, nano_dollars
from envs.errors import BudgetError, ConfigError, StoreError

ROOT = Path(__file__).resolve().parents[2]
GPT = Price(2.5, 10.0, 1.25)
FREE = Price(0.0, 0.0)


def planned(
    price: Price | None = GPT, *, model: str = "gpt-4o", purpose: str = "judge", tokens: int = 1000
) -> PlannedCall:
    """With 1,000 tokens each way it costs 2.5 + 10 thousandths of a dollar at most."""
    return PlannedCall(model, purpose, price, prompt_tokens=tokens, max_tokens=tokens)


def test_a_call_by_hand() -> None:
    ledger = Ledger(None, budget_usd=1.0)
    reservation = ledger.reserve(planned())
    under_way = ledger.totals()
    # 1,000 * 2,500 + 1,000 * 10,000 nano-dollars
    assert under_way.reserved_nusd == 12_500_000
    assert (under_way.calls, under_way.open_calls, under_way.settled_nusd) == (1, 1, 0)

    # 600 * 2,500 + 200 * 1,250 + 50 * 10,000 = 2,250,000 nano-dollars
    assert ledger.settle(reservation, Usage(800, 50, cached_prompt_tokens=200)) == 0.00225
    settled = ledger.totals()
    assert settled.settled_nusd == 2_250_000
    assert (settled.calls, settled.open_calls, settled.reserved_nusd) == (1, 0, 0)
    assert (settled.prompt_tokens, settled.completion_tokens) == (800, 50)


def test_a_planned_call_knows_its_worst_case() -> None:
    request = ChatRequest((Message("user", "hello"),), 0.0, max_tokens=100, purpose="critic")
    call = PlannedCall.of(request, model="gpt-4o", price=GPT)
    # 256 + 16 + 5 prompt tokens at 2,500 and 100 at 10,000
    assert call.worst_nusd == 277 * 2500 + 1_000_000
    assert (call.purpose, call.model) == ("critic", "gpt-4o")
    assert PlannedCall.of(request, model="x", price=None).worst_nusd is None


def test_the_budget_counts_what_is_settled_uncertain_and_reserved() -> None:
    ledger = Ledger(None, budget_usd=0.0375)  # three worst cases
    settled, uncertain, _open = (ledger.reserve(planned()) for _ in range(3))
    with pytest.raises(BudgetError, match=r"may cost \$0.0125, but of the budget of \$0.0375"):
        ledger.reserve(planned())
    ledger.release(uncertain, was_billed=None)
    with pytest.raises(BudgetError, match=r"only \$0.00 is left"):
        ledger.reserve(planned())
    ledger.settle(settled, Usage(1000, 0))  # gives back 0.01
    with pytest.raises(BudgetError, match=r"only \$0.0100 is left"):
        ledger.reserve(planned())
    ledger.reserve(planned(tokens=800))  # just 0.01


def test_an_attempt_that_was_surely_not_billed_gives_all_back() -> None:
    ledger = Ledger(None, budget_usd=0.0125, max_calls=1)
    for _ in range(3):
        ledger.release(ledger.reserve(planned()), was_billed=False)
    totals = ledger.totals()
    assert (totals.calls, totals.refused_calls, totals.reserved_nusd) == (0, 3, 0)


@pytest.mark.parametrize("was_billed", [None, True])
def test_an_attempt_that_may_have_been_billed_counts_at_its_worst(was_billed: bool | None) -> None:
    ledger = Ledger(None)
    ledger.release(ledger.reserve(planned()), was_billed=was_billed)
    totals = ledger.totals()
    assert (totals.calls, totals.uncertain_calls) == (1, 1)
    assert (totals.uncertain_nusd, totals.settled_nusd) == (12_500_000, 0)
    assert totals.uncertain_usd == 0.0125


def test_an_answer_without_usage_counts_at_its_worst_unless_it_is_free() -> None:
    ledger = Ledger(None)
    assert ledger.settle(ledger.reserve(planned()), None) is None
    assert ledger.totals().uncertain_nusd == 12_500_000
    assert ledger.settle(ledger.reserve(planned(FREE)), None) == 0.0
    assert ledger.totals().free_calls == 1


def test_an_unknown_price_is_neither_free_nor_affordable() -> None:
    ledger = Ledger(None)
    assert ledger.settle(ledger.reserve(planned(None)), Usage(10, 5)) is None
    ledger.release(ledger.reserve(planned(None)), was_billed=None)
    totals = ledger.totals()
    assert (totals.unknown_price_calls, totals.free_calls, totals.settled_nusd) == (2, 0, 0)
    assert totals.prompt_tokens == 10

    with pytest.raises(ConfigError, match=r"price of my-model is unknown.* budget_usd=null"):
        Ledger(None, budget_usd=1.0).reserve(planned(None, model="my-model"))


def test_a_free_call_is_made_when_nothing_is_left() -> None:
    ledger = Ledger(None, budget_usd=0.0)
    assert ledger.settle(ledger.reserve(planned(FREE)), Usage(10**6, 10**6)) == 0.0
    assert ledger.totals().free_calls == 1
    with pytest.raises(BudgetError):
        ledger.reserve(planned())


def test_no_more_calls_than_allowed() -> None:
    ledger = Ledger(None, max_calls=2)
    first = ledger.reserve(planned(FREE))
    ledger.reserve(planned(FREE))
    with pytest.raises(BudgetError, match="max_calls is 2, and 2 calls were made, of which 2"):
        ledger.reserve(planned(FREE))
    ledger.settle(first, Usage(1, 1))
    with pytest.raises(BudgetError, match="of which 1 are under way"):
        ledger.reserve(planned(FREE))


def test_a_provider_that_bills_more_than_the_worst_case_is_reported() -> None:
    ledger = Ledger(None, budget_usd=0.0125)
    # it ignored max_tokens: 1,000 * 2,500 + 2,000 * 10,000
    assert ledger.settle(ledger.reserve(planned()), Usage(1000, 2000)) == 0.0225
    totals = ledger.totals()
    assert (totals.exceeding_calls, totals.settled_nusd) == (1, 22_500_000)
    with pytest.raises(BudgetError, match=r"only \$0.00 is left"):
        ledger.reserve(planned(tokens=1))


def test_the_worst_case_of_a_long_prompt_is_its_own() -> None:
    price = Price(1.0, 1.0, long_prompts=LongPrompts(1000, Price(2.0, 3.0)))
    assert planned(price, tokens=1000).worst_nusd == 5_000_000


def test_each_reservation_ends_once() -> None:
    ledger = Ledger(None)
    reservation = ledger.reserve(planned())
    ledger.settle(reservation, Usage(1, 1))
    with pytest.raises(StoreError, match="settle or release each one once"):
        ledger.release(reservation, was_billed=False)
    assert ledger.totals().calls == 1


@pytest.mark.parametrize(
    "limits",
    [{"budget_usd": -1.0}, {"budget_usd": float("nan")}, {"max_calls": -1}],
)
def test_senseless_limits_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(limits))):
        Ledger(None, **limits)  # type: ignore[arg-type]


def test_totals_divide_by_purpose_and_model_and_go_into_json() -> None:
    ledger = Ledger(None)
    ledger.settle(ledger.reserve(planned(purpose="judge", model="a")), Usage(1000, 0))
    ledger.settle(ledger.reserve(planned(purpose="judge", model="b")), Usage(2000, 0))
    ledger.settle(ledger.reserve(planned(purpose="partner", model="b")), Usage(4000, 0))
    ledger.count_cached(purpose="judge", model="a")
    totals = ledger.totals()
    assert {name: t.settled_nusd for name, t in totals.by_purpose.items()} == {
        "judge": 7_500_000,
        "partner": 10_000_000,
    }
    assert {name: t.settled_nusd for name, t in totals.by_model.items()} == {
        "a": 2_500_000,
        "b": 15_000_000,
    }
    said = json.loads(json.dumps(totals.as_dict()))
    assert (said["calls"], said["settled_usd"]) == (3, 0.0175)
    assert said["by_model"]["a"]["cached_answers"] == 1
    assert said["by_purpose"]["partner"]["prompt_tokens"] == 4000


def test_totals_are_said_in_a_sentence() -> None:
    tally = UsageTotals(
        calls=412,
        unknown_price_calls=3,
        cached_answers=120,
        settled_nusd=1_234_000_000,
        uncertain_nusd=40_000_000,
    )
    assert tally.describe() == (
        "412 calls, $1.23 settled, at most $0.0400 uncertain, 3 of unknown price, "
        "120 answers from the store"
    )
    assert UsageTotals(calls=1, free_calls=1).describe() == "1 call, 1 free"
    assert UsageTotals().describe() == "0 calls"
    assert UsageTotals(calls=1200, open_calls=1, reserved_nusd=1).describe() == (
        "1,200 calls, $0.00 settled, at most less than $0.0001 under way"
    )


def test_money_is_said_and_read_exactly() -> None:
    assert [dollars(n) for n in (0, 1, 100_000, 12_500_000, 1_234_000_000)] == [
        "$0.00",
        "less than $0.0001",
        "$0.0001",
        "$0.0125",
        "$1.23",
    ]
    assert nano_dollars(0.1) == 100_000_000
    assert nano_dollars(1e-10) == 0


def test_a_resumed_run_goes_on_with_what_was_spent(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, budget_usd=0.0375) as ledger:
        ledger.settle(ledger.reserve(planned()), Usage(1000, 1000))
        ledger.reserve(planned(purpose="partner"))
        ledger.count_cached(purpose="judge", model="gpt-4o")
        before = ledger.totals()
    with Ledger(path, budget_usd=0.0375) as ledger:
        totals = ledger.totals()
        assert totals.calls == before.calls == 2
        assert (totals.settled_nusd, totals.uncertain_nusd) == (12_500_000, 12_500_000)
        assert (totals.open_calls, totals.reserved_nusd, totals.cached_answers) == (0, 0, 1)
        assert totals.by_purpose["partner"].uncertain_calls == 1
        ledger.settle(ledger.reserve(planned()), Usage(1, 0))
        with pytest.raises(BudgetError):
            ledger.reserve(planned())
    with Ledger(path, max_calls=3) as ledger, pytest.raises(BudgetError, match="3 calls were made"):
        ledger.reserve(planned())


def test_a_ledger_has_one_process(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path), pytest.raises(StoreError, match="open in another process"):
        Ledger(path)
    Ledger(path).close()


def test_another_file_is_no_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_text("not a database, but long enough to be taken for one by its size" * 20)
    with pytest.raises(StoreError, match="is a ledger"):
        Ledger(path)
    with pytest.raises(StoreError, match="SQLite failed"):
        Ledger(tmp_path / "missing" / "ledger.sqlite")


KILLED = """
import sys
from pathlib import Path
from engines.remote.ledger import Ledger, PlannedCall, Usage
from engines.remote.prices import Price
ledger = Ledger(Path(sys.argv[1]))
call = PlannedCall("m", "judge", Price(1.0, 1.0), prompt_tokens=1, max_tokens=1)
while True:
    reservation = ledger.reserve(call)
    print("reserved", flush=True)
    ledger.settle(reservation, Usage(1, 0))
    print("settled", flush=True)
"""


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(2001)]
        process.kill()
        said += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    reserved, settled = said.count("reserved\n"), said.count("settled\n")
    with Ledger(path) as ledger:
        totals = ledger.totals()
    # each settled call cost 1,000 nano-dollars, and one may have been under way at 2,000
    assert totals.calls - reserved in (0, 1)
    assert totals.settled_nusd // 1000 - settled in (0, 1)
    assert totals.uncertain_nusd == 2000 * (totals.calls - totals.settled_nusd // 1000)


async def ask(ledger: Ledger, usage: Usage) -> None:
    reservation = await ledger.reserve_when_possible(planned())
    await asyncio.sleep(0)
    ledger.settle(reservation, usage)


def test_callers_wait_for_what_calls_under_way_give_back() -> None:
    async def play() -> Ledger:
        # room for 2 worst cases at once, and for what 20 calls really cost
        ledger = Ledger(None, budget_usd=0.027)
        await asyncio.gather(*(ask(ledger, Usage(100, 50)) for _ in range(20)))
        return ledger

    totals = asyncio.run(play()).totals()
    # 100 * 2,500 + 50 * 10,000 each
    assert (totals.calls, totals.settled_nusd) == (20, 20 * 750_000)


def test_callers_stop_when_nothing_more_can_come_back() -> None:
    async def play() -> tuple[Ledger, list[BaseException | None]]:
        ledger = Ledger(None, budget_usd=0.05)  # four worst cases
        asked = (ask(ledger, Usage(1000, 1000)) for _ in range(64))
        return ledger, await asyncio.gather(*asked, return_exceptions=True)

    ledger, ended = asyncio.run(play())
    assert ended.count(None) == 4
    assert sum(isinstance(error, BudgetError) for error in ended) == 60
    assert ledger.totals().settled_nusd == 50_000_000


def test_a_caller_that_gave_up_waiting_holds_up_nobody() -> None:
    async def play() -> Ledger:
        ledger = Ledger(None, max_calls=1)
        first = ledger.reserve(planned())
        waiting = [asyncio.ensure_future(ask(ledger, Usage(1, 1))) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        ledger.release(first, was_billed=False)
        await waiting[1]
        return ledger

    assert asyncio.run(play()).totals().calls == 1


class Interleavings(RuleBasedStateMachine):
    """Any order of calls, ends and restarts, beside a simple sum of what was done."""

    reopen: Callable[[], Ledger]

    @initialize(budget_nusd=st.integers(0, 10**8))
    def start(self, budget_nusd: int) -> None:
        self.folder = TemporaryDirectory()
        path = Path(self.folder.name) / "ledger.sqlite"
        self.budget_nusd = budget_nusd
        self.reopen = lambda: Ledger(path, budget_usd=budget_nusd / 10**9)
        self.ledger = self.reopen()
        self.open: list[tuple[Reservation, PlannedCall]] = []
        self.calls = self.settled = self.uncertain = 0

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.folder.cleanup()

    @rule(
        price=st.sampled_from([GPT, Price(0.0375, 0.1), FREE]),
        model=st.sampled_from(["a", "b"]),
        purpose=st.sampled_from(["judge", "partner"]),
        tokens=st.integers(0, 2000),
    )
    def reserve(self, price: Price, model: str, purpose: str, tokens: int) -> None:
        call = planned(price, model=model, purpose=purpose, tokens=tokens)
        reserved = sum(reservation.worst_nusd or 0 for reservation, _ in self.open)
        fits = self.settled + self.uncertain + reserved + (call.worst_nusd or 0) <= self.budget_nusd
        if fits:
            self.open.append((self.ledger.reserve(call), call))
        else:
            with pytest.raises(BudgetError):
                self.ledger.reserve(call)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        reservation, call = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        usage = Usage(*(data.draw(st.integers(0, call.max_tokens)) for _ in range(2)))
        self.ledger.settle(reservation, usage)
        assert call.price is not None
        self.settled += call.price.cost_nusd(usage.prompt_tokens, usage.completion_tokens)
        self.calls += 1

    @precondition(lambda self: self.open)
    @rule(data=st.data(), was_billed=st.sampled_from([True, False, None]))
    def release(self, data: st.DataObject, was_billed: bool | None) -> None:
        reservation, call = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.ledger.release(reservation, was_billed=was_billed)
        if was_billed is not False:
            self.uncertain += call.worst_nusd or 0
            self.calls += 1

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.uncertain += sum(reservation.worst_nusd or 0 for reservation, _ in self.open)
        self.calls += len(self.open)
        self.open = []
        self.ledger = self.reopen()

    @invariant()
    def the_budget_holds_and_the_sums_agree(self) -> None:
        totals = self.ledger.totals()
        assert (
            totals.settled_nusd + totals.uncertain_nusd + totals.reserved_nusd <= self.budget_nusd
        )
        assert (totals.settled_nusd, totals.uncertain_nusd) == (self.settled, self.uncertain)
        assert (totals.calls, totals.open_calls) == (self.calls + len(self.open), len(self.open))
        for parts in (totals.by_purpose, totals.by_model):
            together = sum(parts.values(), UsageTotals())
            assert UsageTotals.as_dict(together) == UsageTotals.as_dict(totals)


def test_any_interleaving_keeps_the_budget_and_the_file() -> None:
    run_state_machine_as_test(
        Interleavings, settings=settings(max_examples=25, stateful_step_count=30, deadline=None)
    )


@given(st.lists(st.builds(UsageTotals, *(st.integers(0, 2**62) for _ in range(13))), max_size=3))
def test_tallies_add_field_by_field(tallies: list[UsageTotals]) -> None:
    together = sum(tallies, UsageTotals())
    assert together.settled_nusd == sum(tally.settled_nusd for tally in tallies)
    assert together.reserved_nusd == sum(tally.reserved_nusd for tally in tallies)
    assert together.calls == sum(tally.calls for tally in tallies)
