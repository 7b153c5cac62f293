"""The study: its methods exist, and what was done is not done again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from envs.errors import DataError
from training.cli.compose import compose, groups
from training.evaluation import study_runs
from training.evaluation.children import Children
from training.evaluation.study import DEFINITIONS, RESULTS, read_studies
from training.evaluation.study_page import best_variant, gains_of
from training.evaluation.study_runs import Job, jobs_of, perform
from training.evaluation.trials import KEPT, Trial, read_trial
from training.storage.files import read_json
from training.study import work_folder

ROOT = Path(__file__).resolve().parents[3]
DEFINED = read_studies(ROOT / RESULTS / DEFINITIONS)
STUDIES, EQUAL, SMOKE = DEFINED.studies, DEFINED.options, DEFINED.smoke_options


@pytest.mark.parametrize("name", STUDIES)
def test_every_method_of_a_study_is_an_experiment_of_that_name(name: str) -> None:
    for method, (experiment, words) in STUDIES[name].methods().items():
        assert f"sotopia_{experiment}" in groups()["experiment"]
        config = compose([f"+experiment=sotopia_{experiment}", *EQUAL, *words])
        assert config.name == method, "records are known by it"
    assert set(STUDIES[name].published) <= set(STUDIES[name].experiments)


def test_methods_differ_in_nothing_but_the_method() -> None:
    """Self-play, evaluation and partners are those of SDPO; so is what is equal."""
    base = compose(["+experiment=sotopia_sdpo", *EQUAL])
    for experiment in STUDIES["methods"].experiments:
        other = compose([f"+experiment=sotopia_{experiment}", *EQUAL])
        for part in ("env", "policy", "cloning", "partner", "judge", "collect", "evaluation"):
            assert getattr(other, part) == getattr(base, part), (experiment, part)
        assert other.iterations == base.iterations
        assert other.reference == base.reference
        assert (other.branch.tokens, other.update.steps) == (40000, 8)
        assert (other.pairing.value, other.pairing.margin) == (base.pairing.value, 1.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("options: [", "is not YAML"),
        ("options: []\nsmoke_options: []", "studies: Field required"),
        (
            "{options: [], smoke_options: [], studies: {a: {title: A, experiments: [x], sed: 1}}}",
            r"studies\.a\.sed: Extra inputs are not permitted",
        ),
        (
            "{options: [], smoke_options: [], studies: {a: {title: A, experiments: [x], "
            "published: {y: [1, 2]}}}}",
            r"studies\.a: .*published has y, which experiments has not",
        ),
        (
            "{options: [], smoke_options: [], studies: {a: {title: A, experiments: [x], "
            "published: {x: [1]}}}}",
            r"studies\.a\.published\.x",
        ),
    ],
)
def test_a_faulty_definition_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / DEFINITIONS).write_text(text)
    with pytest.raises(DataError, match=said):
        read_studies(tmp_path / DEFINITIONS)


def test_without_definitions_it_is_said_where_to_start(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="start the command from the root of the repository"):
        read_studies(tmp_path / DEFINITIONS)


def test_the_smoke_options_compose() -> None:
    assert compose(["+experiment=sotopia_sdpo", *SMOKE]).update.steps == 2


def test_all_methods_have_a_seed_before_the_next_one(tmp_path: Path) -> None:
    jobs = list(
        jobs_of({"source": STUDIES["source"]}, 2, (), tmp_path / "results", tmp_path / "work")
    )
    assert [(job.experiment, job.seed) for job in jobs] == [
        ("source_policy", 0),
        ("source_experts", 0),
        ("source_policy", 1),
        ("source_experts", 1),
    ]
    assert jobs[3].record == tmp_path / "results" / "source" / "source_experts-seed1.json"


def test_only_some_experiments_are_run(tmp_path: Path) -> None:
    jobs = list(jobs_of({"steps": STUDIES["steps"]}, 9, (), tmp_path, tmp_path, only=["dpo"]))
    assert [(job.output_root.name, job.options[-2:]) for job in jobs[:2]] == [
        ("dpo-2.5e-4-seed0", ("update.learning_rate=2.5e-4", "name=dpo-2.5e-4")),
        ("dpo-5e-4-seed0", ("update.learning_rate=5e-4", "name=dpo-5e-4")),
    ]
    assert len(jobs) == 6, "the study has at most three seeds"


@pytest.mark.parametrize(
    ("gains", "best"),
    [
        ({}, None),
        ({"small": (0.5, 0.0), "large": (0.9, -0.02)}, "large"),
        ({"small": (0.5, 0.0), "large": (0.9, -0.021)}, "small"),
        ({"small": (0.5, -0.04), "large": (0.9, -0.05)}, "small"),
    ],
)
def test_a_step_is_better_that_gains_more_and_loses_few_deals(
    gains: dict[str, tuple[float, float]], best: str | None
) -> None:
    assert best_variant(gains) == best


def test_gains_are_means_over_partners_and_deals_those_of_self_play() -> None:
    def table(goal: float, deals: float) -> dict[str, list[float | None]]:
        return {name: [goal] for name in KEPT} | {"deal_rate": [deals]}

    values = {
        "bc": {"self": table(5.0, 1.0), "experts": table(6.0, 1.0)},
        "final": {"self": table(6.0, 0.5), "experts": table(9.0, 0.0)},
    }
    trial = Trial("dpo-5e-4", 0, {}, ("a",), values, 1, 2, 3, 0, 60.0)
    assert gains_of(STUDIES["steps"], "dpo", [trial]) == {"5e-4": (2.0, -0.5)}
    assert gains_of(STUDIES["steps"], "eto", [trial]) == {}


def test_methods_have_the_step_size_that_was_better() -> None:
    study = STUDIES["steps"]
    trials = [read_trial(file) for file in sorted((ROOT / "docs/results/steps").glob("*.json"))]
    for experiment in study.experiments:
        best = best_variant(gains_of(study, experiment, trials))
        assert best is not None
        config = compose([f"+experiment=sotopia_{experiment}"])
        assert config.update.learning_rate == float(best), experiment


class Runs:
    """Stands for the training command: leaves a run behind, finished or not."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.finishes = True

    def __call__(self, children: Children, command: Sequence[str], **options: Any) -> int:
        self.commands.append(list(command))
        place = Path(next(w for w in command if w.startswith("output_root=")).partition("=")[2])
        (place / "a_run").mkdir(exist_ok=True)
        if not (place / "latest").exists():
            (place / "latest").symlink_to("a_run")
        if self.finishes:
            (place / "a_run" / "summary.json").write_text('{"goal": 1.0}')
        return 0 if self.finishes else 1


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs()
    monkeypatch.setattr(Children, "run", lambda *given, **options: made(*given, **options))
    monkeypatch.setattr(study_runs, "commit", lambda: f"commit{len(made.commands)}")
    record = Trial("sdpo", 0, {}, ("a",), {"final": {}}, 1, 2, 3, 0, 60.0)
    monkeypatch.setattr(study_runs, "read_run", lambda folder: record)
    return made


def job(tmp_path: Path) -> Job:
    return Job("sdpo", 0, ("a=1",), tmp_path / "results" / "sdpo-seed0.json", tmp_path / "w" / "s")


def test_a_run_that_was_stopped_goes_on_and_one_with_a_record_is_not_run(
    tmp_path: Path, runs: Runs
) -> None:
    console, work = Console(file=io.StringIO()), job(tmp_path)
    runs.finishes = False
    assert not perform(work, console)
    assert not work.record.exists()
    runs.finishes = True
    assert perform(work, console)
    assert perform(work, console)
    first, second = runs.commands
    assert first[1:] == [*work.command, f"output_root={work.output_root}"]
    assert second[1:] == [*first[1:], f"resume={(work.output_root / 'a_run').resolve()}"]
    found = read_json(work.record)
    command = "python -m training.loop +experiment=sotopia_sdpo a=1 seed=0 threads=1"
    assert found["command"] == command
    assert found["commits"] == ["commit0", "commit1"], "it was made by both"
    assert found["summary"] == {"goal": 1.0}


def test_a_finished_run_without_a_record_is_only_recorded(tmp_path: Path, runs: Runs) -> None:
    console, work = Console(file=io.StringIO()), job(tmp_path)
    assert perform(work, console)
    work.record.unlink()
    assert perform(work, console, lambda run: {"dialogues": [run.name]})
    assert len(runs.commands) == 1
    assert read_json(work.record)["dialogues"] == ["a_run"]


def test_runs_share_the_clones_that_do_not_depend_on_the_method(tmp_path: Path, runs: Runs) -> None:
    work = job(tmp_path)
    perform(work, Console(file=io.StringIO()))
    assert (work.output_root / "cache").resolve() == (tmp_path / "w" / "cache").resolve()


def test_studies_of_different_folders_keep_their_runs_apart() -> None:
    """A finished run of one name would be taken as the other's."""
    ours, other = work_folder(RESULTS), work_folder(Path("docs/real_models"))
    assert ours == Path("outputs/study")
    assert other == Path("outputs/real_models")
    smoke = {work_folder(RESULTS, smoke=True), work_folder(Path("docs/real_models"), smoke=True)}
    assert len(smoke | {ours, other}) == 4
