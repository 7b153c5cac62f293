"""Runs of several seeds as methods: grouped, compared over seeds and scenarios, written, read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from envs.errors import DataError
from training.evaluation.method_comparison import compare_methods, group_by_method
from training.evaluation.method_table import markdown, plot_gains
from training.evaluation.study import DEFINITIONS, RESULTS, read_studies
from training.evaluation.study_page import TEMPLATE, page
from training.evaluation.trials import KEPT, Trial, read_trial, write_trial
from training.storage.run_files import BC, TRAINED

Goals = list[float | None]

ROOT = Path(__file__).resolve().parents[3]


def trial(
    method: str, seed: int, trained: Goals, clone: Goals | None = None, **config: int
) -> Trial:
    """A run with these goals in self-play; every other metric is the same number."""

    def table(goals: Goals) -> dict[str, dict[str, Goals]]:
        return {"self": {metric: list(goals) for metric in KEPT}}

    values = {TRAINED: table(trained)} | ({BC: table(clone)} if clone else {})
    options = {"seed": seed, "output_root": f"outputs/{seed}", "pairing": {"margin": 1.5, **config}}
    scenarios = tuple("abcdefgh"[: len(trained)])
    return Trial(method, seed, options, scenarios, values, 1000 + seed, 56, 900, seed % 2, 60.0)


def test_seeds_of_a_method_are_taken_together() -> None:
    trials = [trial("sdpo", 1, [6.0, 8.0], [5.0, 5.0]), trial("dpo", 0, [5.0, 6.0], [4.0, 6.0])]
    trials += [trial("sdpo", 0, [6.0, 7.0], [4.0, 6.0])]
    methods = group_by_method(trials)
    assert [(m.name, [t.seed for t in m.trials]) for m in methods] == [
        ("sdpo", [0, 1]),
        ("dpo", [0]),
    ]
    comparison = compare_methods(methods)
    sdpo, dpo = (comparison["partners"]["self"][name]["goal"] for name in ("sdpo", "dpo"))
    assert sdpo["value"]["mean"] == (6 + 7 + 6 + 8) / 4
    assert sdpo["gain"]["mean"] == (2 + 1 + 1 + 3) / 4, "each against the clone of its own seed"
    assert dpo["gain"]["mean"] == (1 + 0) / 2
    assert dpo["lead"]["mean"] == (-1 - 1) / 2, (
        "against the first method on seed 0, which both have"
    )
    assert dpo["lead"]["ci95"] == [-1.0, -1.0]
    assert sdpo["lead"] == {"mean": None, "ci95": None, "n": 0}
    assert comparison["runs"]["sdpo"] | {"examples": 0, "wall_s": 0} == {
        "seeds": [0, 1],
        "sampled_tokens": 1000.5,
        "update_steps": 56,
        "stopped_early": 1,
        "examples": 0,
        "wall_s": 0,
    }


def test_what_was_not_scored_counts_in_no_mean() -> None:
    comparison = compare_methods(
        group_by_method([trial("sdpo", 0, [6.0, None, 8.0], [5.0, 1.0, None])])
    )
    goal = comparison["partners"]["self"]["sdpo"]["goal"]
    assert goal["value"] | {"ci95": 0} == {"mean": 7.0, "ci95": 0, "n": 2}
    assert goal["gain"] == {"mean": 1.0, "ci95": None, "n": 1}


def test_a_method_without_a_clone_has_no_gain() -> None:
    comparison = compare_methods(group_by_method([trial("sdpo", 0, [6.0, 8.0])]))
    assert comparison["partners"]["self"]["sdpo"]["goal"]["gain"]["n"] == 0
    assert "| sdpo | 7.00 [6.00, 8.00] | - | - |" in markdown(comparison)


def test_methods_of_one_name_are_told_apart_by_their_options() -> None:
    trials = [trial("sdpo", 0, [1.0], margin=1), trial("sdpo", 0, [1.0], margin=2)]
    names = [method.name for method in group_by_method(trials)]
    assert names == ["sdpo pairing.margin=1", "sdpo pairing.margin=2"]


def test_a_run_that_is_older_than_an_option_has_its_default() -> None:
    older, newer = trial("sdpo", 0, [1.0]), trial("sdpo", 1, [2.0])
    with_option = dict(newer.config) | {"collect": {"ahead": False}}
    (method,) = group_by_method([older, replace(newer, config=with_option)])
    assert len(method.trials) == 2


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="sdpo was run more than once with seed 0"):
        group_by_method([trial("sdpo", 0, [1.0]), trial("sdpo", 0, [2.0])])
    with pytest.raises(DataError, match="dpo with seed 1 was evaluated on other scenarios"):
        group_by_method([trial("sdpo", 0, [1.0]), trial("dpo", 1, [1.0, 2.0])])


def test_the_picture_is_drawn_of_the_gains() -> None:
    comparison = compare_methods(group_by_method([trial("a<b>", 0, [6.0, 8.0], [5.0, 6.0])]))
    drawn = ElementTree.fromstring(plot_gains(comparison))
    texts = {
        "".join(element.itertext()).strip() for element in drawn.iter() if "text" in element.tag
    }
    assert {"a<b>", "goal minus clone"} <= texts


@pytest.mark.parametrize("clone", [None, [1.25, None]])
def test_a_record_reads_back_as_it_was(tmp_path: Path, clone: Goals | None) -> None:
    made, file = trial("sdpo", 0, [6.5, None], clone), tmp_path / "study" / "sdpo-seed0.json"
    write_trial(made, file, provenance={"command": "python ...", "summary": {"mean": 1.23456}})
    assert read_trial(file) == made
    record = json.loads(file.read_text())
    assert (record["command"], record["summary"]) == ("python ...", {"mean": 1.2346})
    assert BC not in record["values"]


def test_equal_clones_are_kept_once(tmp_path: Path) -> None:
    for method in ("sdpo", "dpo"):
        made = trial(method, 0, [6.0], [5.0])
        write_trial(made, tmp_path / f"{method}.json", provenance={})
    assert len(list((tmp_path / "clones").iterdir())) == 1


def test_what_is_no_record_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for text in ("{}", "[]", "no"):
        file.write_text(text)
        with pytest.raises(DataError, match=r"x.json is no record of a run .* delete it"):
            read_trial(file)


def test_the_page_is_made_of_what_is_there(tmp_path: Path) -> None:
    for method, seed in (("source_policy", 0), ("source_policy", 1), ("source_experts", 0)):
        made = trial(method, seed, [6.0, 8.0], [5.0, 6.0])
        file = tmp_path / "source" / f"{method}-seed{seed}.json"
        write_trial(made, file, provenance={"command": f"train {method}", "commits": ["0" * 40]})
    (tmp_path / "source.reading.md").write_text("It agrees.\n")
    studies, template = read_studies(ROOT / RESULTS / DEFINITIONS), ROOT / RESULTS / TEMPLATE
    text = page(studies, tmp_path, template)
    assert "## Whose positives" in text
    assert "## Methods" not in text, "nothing of it was run"
    assert "| source_policy | 8.56/3.69 | 7.00/7.00 |" in text
    assert "It agrees." in text
    assert "`train source_experts` (0000000000; 1 minutes)" in text
    assert (tmp_path / "source.svg").is_file()
    one = replace(trial("sdpo", 0, [1.0]))
    write_trial(one, tmp_path / "source" / "sdpo-seed0.json", provenance={})
    only_source = studies.model_copy(update={"studies": {"source": studies.studies["source"]}})
    with pytest.raises(DataError, match="sdpo, which is no method of this study"):
        page(only_source, tmp_path, template)
