"""The loop with models behind an API everywhere: partner, judge, critic and pairwise judge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from envs.errors import BudgetError
from tests.engines.remote_provider import FAULTS, Provider, serving
from tests.training.provided import places, read_json, served, with_content_faults
from tests.training.quick import quick_retries
from training.cli.compose import compose
from training.loop import train
from training.storage.run_files import read_metrics
from training.storage.store import Store

SMOKE = ("scale=smoke", "cloning.dialogues=0", "evaluation.curve_scenarios=4", "iterations=2")


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    quick_retries(monkeypatch)
    quick_faults = [fault for fault in FAULTS if fault != "hangs"]
    faulty = Provider(reply=with_content_faults(0.1), faults=quick_faults, fault_rate=0.2)
    with serving(faulty) as provider:
        yield provider


def words(provider: Provider, folder: Path) -> list[str]:
    asked = [word for who in ("partner", "judge", "critic") for word in served(provider, who)]
    mixed = ["partner=server", "partner.weights={self: 1, model: 1}"]
    return places(folder, *SMOKE, *mixed, "judge=hybrid", "critic=llm", *asked)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        ("pairing=segment", "objective=sdpo"),
        ("pairing=win_rate", "objective=sppo", "pairing.preferences=judge"),
    ],
)
def test_a_run_learns_with_models_behind_an_api(
    provider: Provider, tmp_path: Path, method: tuple[str, ...]
) -> None:
    options = [*words(provider, tmp_path), *method]
    with pytest.raises(BudgetError):
        train(compose([*options, "max_calls=120"]))
    stopped = (tmp_path / "latest").resolve()
    train(compose([*options, f"resume={stopped}"]))

    summary, metrics = read_json(stopped / "summary.json"), read_metrics(stopped)
    assert set(summary["policies"]["final"]) == {"self", "frozen_bc", "experts"}
    assert set(summary["api"]["by_purpose"]) == {"partner", "judge", "critic"}
    assert summary["api"]["open_calls"] == 0
    assert summary["api"]["calls"] + summary["api"]["refused_calls"] == provider.account.requests
    learned = metrics[1:]
    assert [record["iteration"] for record in learned] == [1, 2]
    with Store.read_only(stopped / "store.sqlite") as store:
        groups = [group for iteration in (1, 2) for group in store.groups(iteration)]
        collected = [one for i in (1, 2) for one in store.episodes("collect", i)]
    assert len({one.id for one in collected}) == len(collected) == 32
    assert groups
    assert all(group.critic == "llm" and "Of all." in group.reason for group in groups)
    compares = "pairing.preferences=judge" in method
    assert all(bool(group.preferences) == compares for group in groups)
    assert (sum(record["preferences"]["pairs"] for record in learned) > 0) == compares
