"""Evaluations side by side: paired by scenario, refused where they are no pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from envs.errors import ConfigError, DataError
from training.compare import main
from training.evaluation.comparison import (
    DATA,
    PLOT,
    TABLE,
    compare,
    compare_within,
    write_comparison,
)
from training.evaluation.comparison_table import markdown
from training.evaluation.evaluated_policies import read_evaluations
from training.storage.run_files import CONFIG, MEASURES, SUMMARY

OPTIONS = {
    "seed": 3,
    "judge": {"name": "verifiable"},
    "env": {"families": {"plans": 1.0}, "max_turns": 20},
}


def evaluation(
    folder: Path,
    goals: Mapping[str, Mapping[str, float | None]],
    *,
    policy: str = "outputs/a_run/checkpoints/0008",
    api: Mapping[str, Any] | None = None,
    **options: object,
) -> Path:
    """A finished evaluation in which the policy had these goals, by partner and scenario."""
    folder.mkdir()
    config = {**OPTIONS, "policy": {"name": policy}, **options}
    (folder / CONFIG).write_text(yaml.safe_dump(config))
    measures = {
        partner: {s: {"goal": g, "deal_rate": 1.0} for s, g in found.items()}
        for partner, found in goals.items()
    }
    (folder / MEASURES).write_text(json.dumps({"final": measures, "bc": {}}))
    episodes = {p: {"played": len(found) + 1, "unscored": 1} for p, found in goals.items()}
    (folder / SUMMARY).write_text(json.dumps({"episodes": {"final": episodes}, "api": api}))
    return folder


def test_differences_are_paired_by_scenario(tmp_path: Path) -> None:
    base = evaluation(tmp_path / "base", {"self": {"a": 2.0, "b": 5.0, "c": 8.0}})
    other = evaluation(tmp_path / "other", {"self": {"c": 9.0, "b": 6.0, "d": 0.0}})
    result = compare(read_evaluations([base, other]), seed=0)
    found = result["partners"]["self"]
    first, second = result["folders"]
    assert found["policies"][first]["goal"]["mean"] == 5.0  # (2 + 5 + 8) / 3
    assert found["policies"][second]["goal"]["mean"] == 5.0  # (9 + 6 + 0) / 3
    # Only b and c were met by both: 6 - 5 and 9 - 8.
    assert found["paired"][second]["goal"] == {"mean": 1.0, "ci95": [1.0, 1.0], "n": 2}
    assert found["episodes"][second] == {"played": 4, "unscored": 1}


def test_policies_are_called_by_run_and_checkpoint_or_model(tmp_path: Path) -> None:
    goals = {"self": {"a": 1.0}}
    folders = [
        evaluation(tmp_path / "1", goals),
        evaluation(tmp_path / "2", goals),
        evaluation(tmp_path / "3", goals, policy="some/where/qwen"),
    ]
    api = {"name": "api", "model": {"name": "gpt-4o-2024-11-20"}}
    named = tmp_path / "4"
    evaluation(named, goals)
    config = yaml.safe_load((named / CONFIG).read_text()) | {"policy": api}
    (named / CONFIG).write_text(yaml.safe_dump(config))
    names = [policy.name for policy in read_evaluations([*folders, named])]
    assert names == ["a_run/0008 (1)", "a_run/0008 (2)", "qwen", "gpt-4o-2024-11-20"]


@pytest.mark.parametrize(
    ("api", "cost", "shown"),
    [
        (None, 0.0, "$0.00"),
        ({"settled_usd": 1.25, "unknown_price_calls": 0}, 1.25, "$1.25"),
        ({"settled_usd": 1.25, "unknown_price_calls": 2}, None, "unknown price"),
    ],
)
def test_an_unknown_price_is_not_a_low_one(
    tmp_path: Path, api: Mapping[str, Any] | None, cost: float | None, shown: str
) -> None:
    goals = {"self": {"a": 1.0}}
    folders = [evaluation(tmp_path / "1", goals), evaluation(tmp_path / "2", goals, api=api)]
    result = compare(read_evaluations(folders), seed=0)
    assert list(result["cost_usd"].values())[1] == cost
    assert f"| {shown} |" in markdown(result)


def test_what_is_uncertain_is_said_beside_the_cost(tmp_path: Path) -> None:
    api = {"settled_usd": 1.25, "uncertain_usd": 0.04, "unknown_price_calls": 0}
    folders = [evaluation(tmp_path / n, {"self": {"a": 1.0}}, api=api) for n in "12"]
    table = markdown(compare(read_evaluations(folders), seed=0))
    assert table.count("| $1.25 and at most $0.0400 more |") == 2


def test_other_prices_and_patience_are_no_other_partner(tmp_path: Path) -> None:
    goals = {"gpt": {"a": 1.0}}
    models: list[dict[str, Any]] = [
        {"name": "gpt", "temperature": 0.7, "timeout_s": 60, "api_key_env": "A"},
        {"name": "gpt", "temperature": 0.7, "timeout_s": 90, "api_key_env": "B"},
        {"name": "gpt", "temperature": 0.0, "timeout_s": 60, "api_key_env": "A"},
    ]
    folders = [
        evaluation(tmp_path / str(n), goals, partner={"model": model})
        for n, model in enumerate(models)
    ]
    assert len(read_evaluations(folders[:2])) == 2
    with pytest.raises(ConfigError, match=r"partner\.model\.temperature=0\.7"):
        read_evaluations([folders[0], folders[2]])


def test_one_evaluation_has_its_policies_side_by_side(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "one", {"self": {"a": 2.0, "b": 4.0}})
    final = json.loads((folder / MEASURES).read_text())["final"]
    clone = {"self": {"a": {"goal": 1.0, "deal_rate": 1.0}}}
    episodes = {"self": {"played": 2, "unscored": 1}}
    both = {"bc": episodes, "final": episodes}
    (folder / SUMMARY).write_text(json.dumps({"episodes": both, "api": None}))
    (folder / MEASURES).write_text(json.dumps({"bc": clone, "final": final}))
    found = compare_within(folder)
    assert found["baseline"] == "bc"
    assert found["partners"]["self"]["paired"]["final"]["goal"]["mean"] == 1.0  # a: 2 - 1
    assert "# Policies compared with bc" in markdown(found)

    (folder / MEASURES).write_text(json.dumps({"final": final}))
    alone = compare_within(folder)
    write_comparison(alone, folder)
    assert (alone["baseline"], alone["partners"]["self"]["paired"]) == ("final", {})
    assert "# Policy final" in (folder / TABLE).read_text()
    assert "| all of this evaluation | $0.00 |" in (folder / TABLE).read_text()
    ElementTree.fromstring((folder / PLOT).read_text())


def test_what_could_not_be_said_counts_in_no_mean(tmp_path: Path) -> None:
    base = evaluation(tmp_path / "base", {"self": {"a": 4.0, "b": 5.0}})
    other = evaluation(tmp_path / "other", {"self": {"a": None, "b": 7.0}})
    found = compare(read_evaluations([base, other]), seed=0)["partners"]["self"]
    (change,) = found["paired"].values()
    assert change["goal"] == {"mean": 2.0, "ci95": None, "n": 1}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"seed": 4}, "seed=3"),
        ({"judge": {"name": "rubric"}}, r"judge\.name=verifiable"),
        ({"evaluation": {"both_seats": True}}, r"evaluation\.both_seats=False"),
        ({"env": {"families": {"plans": 1.0}, "max_turns": 10}}, "env.max_turns=20"),
    ],
)
def test_what_was_played_otherwise_is_refused(
    tmp_path: Path, options: dict[str, Any], named: str
) -> None:
    goals = {"self": {"a": 1.0}}
    folders = [evaluation(tmp_path / "1", goals), evaluation(tmp_path / "2", goals, **options)]
    with pytest.raises(ConfigError, match=named):
        read_evaluations(folders)


def test_an_evaluation_under_way_is_refused(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path / name, {"self": {"a": 1.0}}) for name in "12"]
    (folders[1] / SUMMARY).unlink()
    with pytest.raises(ConfigError, match="so it is no finished evaluation"):
        read_evaluations(folders)
    with pytest.raises(ConfigError, match="expected at least 2"):
        read_evaluations(folders[:1])


def test_no_common_partner_nothing_to_compare(tmp_path: Path) -> None:
    one = evaluation(tmp_path / "1", {"self": {"a": 1.0}})
    two = evaluation(tmp_path / "2", {"experts": {"a": 1.0}})
    with pytest.raises(DataError, match="share no partner"):
        compare(read_evaluations([one, two]), seed=0)


def test_the_command_writes_table_picture_and_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = evaluation(tmp_path / "base", {"self": {"a": 2.0, "b": 5.0}, "experts": {"a": 1.0}})
    other = evaluation(tmp_path / "other", {"self": {"a": 4.0, "b": 6.0}}, policy="x/<b>$y$")
    out = tmp_path / "out"
    main([str(base), str(other), "--out", str(out)])
    assert "partner: self" in capsys.readouterr().out
    assert set(json.loads((out / DATA).read_text())["partners"]) == {"self"}
    # 4 - 2 and 6 - 5: the mean of two resampled from {1, 2} is between 1 and 2.
    assert "**+1.50 [+1.00, +2.00]**" in (out / TABLE).read_text()
    ElementTree.fromstring((out / PLOT).read_text())  # a name cannot break the picture
