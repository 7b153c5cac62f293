"""What a run would call is known before the first call, and is what it then calls."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from engines.remote.estimate import Estimate
from envs.errors import ConfigError
from tests.engines.remote_provider import Provider
from tests.training.provided import PRICES, places, read_json, served
from training.cli.compose import compose
from training.cli.help import HelpPage
from training.cli.run import Command, preview
from training.evaluate import evaluate_policy
from training.preflight.cost import cost_estimate, print_cost_estimate, show_cost_estimate
from training.preflight.workload import evaluation_workload, training_workload

AT = "++partner.model.base_url=http://127.0.0.1:8000/v1"
PARTNER = ("partner=server", "partner.model.name=m", AT, "policy=embedded")
JUDGE = ("judge=rubric", "judge.model.name=j", "judge.model.base_url=http://127.0.0.1:8000/v1")


@pytest.mark.parametrize(
    ("words", "played", "judged"),
    [
        (["evaluation.scenarios=10"], {"partner": 10, "policy": 10}, 10),
        (["evaluation.both_seats=true"], {"partner": 200, "policy": 200}, 200),
        (["evaluation.episodes=3"], {"partner": 300, "policy": 300}, 300),
        # Itself with both seats, the experts, and no clone of a model that was not cloned.
        (
            ["partner.weights={self: 1, frozen_bc: 1, experts: 1, model: 0}"],
            {"partner": 0, "policy": 300},
            200,
        ),
    ],
)
def test_what_an_evaluation_will_do(
    words: list[str], played: dict[str, float], judged: float
) -> None:
    plans = evaluation_workload(compose([*PARTNER, "evaluation.scenarios=100", *words]))
    assert plans.played == played
    assert plans.judged == judged


def test_what_training_will_do() -> None:
    words = [*PARTNER, "partner.weights={self: 3, model: 1}", "critic=llm", *JUDGE]
    words += ["iterations=2", "collect.episodes=80", "branch.points=10", "branch.continuations=4"]
    words += ["evaluation.scenarios=5", "evaluation.stubborn_bias=null"]
    words += ["evaluation.curve_scenarios=6", "evaluation.every=1"]
    plans = training_workload(compose(words))
    # A quarter of the episodes and of the continuations, which are about half as long.
    assert plans.played["partner"] == pytest.approx(2 * (80 + 10 * 4 / 2) / 4)
    assert plans.located == pytest.approx(2 * 10 / 0.5)
    least = 2 * (80 + 10 * 4) + 2 * 6 * 3 + 5 * 3 * 2
    assert least <= plans.judged <= 1.3 * least


def test_the_forecast_bounds_what_a_run_costs(provider: Provider, tmp_path: Path) -> None:
    words = ["partner=server", *served(provider), "judge=rubric", *served(provider, "judge")]
    config = compose(places(tmp_path, *words, "evaluation.scenarios=8"))
    coming = cost_estimate(config, evaluation_workload(config))
    assert provider.account.requests == 0
    evaluate_policy(config)
    api = read_json(tmp_path / "evaluations" / "latest" / "summary.json")["api"]
    lines = {line.account.purpose: line for line in coming.lines}
    assert set(lines) == set(api["by_purpose"]) == {"partner", "judge"}
    assert lines["judge"].expected.calls == api["by_purpose"]["judge"]["calls"] == 16
    for purpose, line in lines.items():
        assert line.is_price_known
        assert 0 < api["by_purpose"][purpose]["calls"] <= line.worst.calls
        assert 0 < api["by_purpose"][purpose]["settled_usd"] <= line.worst.cost_usd
    assert coming.expected.cost_nusd < coming.worst.cost_nusd


def test_a_model_without_a_price_is_told_so() -> None:
    elsewhere = "++partner.model.base_url=http://models.example.org/v1"
    config = compose([*PARTNER, elsewhere, *JUDGE, "evaluation.scenarios=8"])
    coming = cost_estimate(config, evaluation_workload(config))
    assert coming.unpriced_models == ("m@models.example.org",)
    said = shown(coming)
    assert "unknown" in said
    assert "what m@models.example.org will cost, which is unknown. Nothing was called." in said


def test_without_models_nothing_is_called() -> None:
    config = compose(["policy=embedded", "evaluation.scenarios=8"])
    said = shown(cost_estimate(config, evaluation_workload(config)))
    assert said.strip() == "A dry run: no remote calls. Nothing was called."


def shown(coming: Estimate) -> str:
    console = Console(file=io.StringIO(), width=200)
    show_cost_estimate(console, coming)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    priced = [f"++partner.model.{key}={value}" for key, value in PRICES.items()]
    config = compose([*PARTNER, *priced, "evaluation.scenarios=8"])
    print_cost_estimate(config, evaluation_workload)
    said = capsys.readouterr().out
    assert "partner" in said
    assert "A dry run: about " in said
    with pytest.raises(ConfigError, match="This command has no dry run"):
        preview(
            Command(
                page=HelpPage(module="command", summary="", examples={}), work=lambda config: None
            ),
            config,
        )
