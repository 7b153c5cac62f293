"""SOTOPIA's protocol from the options to summary.json: who plays what, what stays unscored."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from envs.errors import ConfigError, DataError
from envs.scenarios.sotopia import PROTOCOL
from tests.tiny_models import four_words, instruct_model, instruct_tokenizer
from tests.training.lines import line_player
from training.cli.compose import compose
from training.evaluate import evaluate_policy
from training.evaluation.episodes import evaluation_plans
from training.evaluation.held_out import HeldOut, held_out
from training.preflight.checks import check_before_start, check_before_training
from training.storage.checkpoint import save_checkpoint
from training.storage.store import Store

POINTS = "a book is worth {} points, a hat is worth {} points"
SCENE = {
    "env_id": "books",
    "codename": "divide_books",
    "source": "deal-or-no-deal",
    "scenario": "They divide 2 books and 1 hat.",
    "agent_goals": [POINTS.format(3, 1), POINTS.format(1, 4)],
    "relationship": "3",
}
OPEN_SCENE = SCENE | {
    "env_id": "tea",
    "codename": "tea",
    "source": "hand-craft",
    "scenario": "Tea for two.",
    "agent_goals": ["Drink.", "Talk."],
}
COMBOS = [
    {"combo_id": "c1", "env_id": "tea", "agent_ids": ["ann", "bo"]},
    {"combo_id": "c2", "env_id": "books", "agent_ids": ["bo", "ann"]},
    {"combo_id": "c3", "env_id": "tea", "agent_ids": ["bo", "ann"]},
]
BOOKS, TEA = ["sotopia/books/c2"], ["sotopia/tea/c1", "sotopia/tea/c3"]


def write_files(folder: Path, *, third_goal: bool = False) -> Path:
    """Two scenes, of which a program can check the first; three combinations, one of them hard."""
    agents = [{"agent_id": name, "first_name": name.title(), "age": 30} for name in ("ann", "bo")]
    combos = COMBOS
    tea = OPEN_SCENE
    if third_goal:
        tea = OPEN_SCENE | {"agent_goals": ["Drink.", "Talk.", "Listen."]}
        combos = [c | {"agent_ids": ["ann", "bo", "ann"]} for c in COMBOS if c["env_id"] == "tea"]
    files = {
        "environment_profiles.jsonl": [SCENE, tea],
        "agent_profiles.jsonl": agents,
        "env_agent_combo_storages.jsonl": combos,
    }
    folder.mkdir()
    for name, records in files.items():
        (folder / name).write_text("".join(f"{json.dumps(record)}\n" for record in records))
    (folder / "hard_combos.json").write_text(json.dumps(combos[:1]))
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return write_files(tmp_path / "sotopia")


@pytest.fixture
def sotopia(files: Path) -> Callable[..., HeldOut]:
    def found(*words: str) -> HeldOut:
        return held_out(compose(["env=sotopia", f"env.path={files}", *words]))

    return found


def test_a_split_is_held_out_whole_whatever_number_is_asked_for(
    sotopia: Callable[..., HeldOut],
) -> None:
    found = sotopia("evaluation.scenarios=1")
    assert [scenario.id for scenario in found.scenarios] == BOOKS + TEA  # the scenes' order
    assert (found.split, found.protocol, found.both_seats) == ("all", PROTOCOL, True)
    assert found.subsets == {
        "verifiable": set(BOOKS),
        "judged": set(TEA),
        "deal-or-no-deal": set(BOOKS),
    }
    assert [s.id for s in sotopia("env.split=hard").scenarios] == TEA[:1]
    assert sotopia("env.split=hard").subsets == {"judged": set(TEA[:1])}


def test_other_lengths_are_not_the_protocol(sotopia: Callable[..., HeldOut]) -> None:
    assert sotopia("env.max_turns=4").protocol == f"{PROTOCOL} with 4 turns"


def test_other_orders_are_not_the_protocol(sotopia: Callable[..., HeldOut]) -> None:
    assert sotopia("env.order=round_robin").protocol == PROTOCOL
    assert sotopia("env.order=random").protocol == f"{PROTOCOL} with random order"
    both = sotopia("env.order=simultaneous", "env.max_turns=6").protocol
    assert both == f"{PROTOCOL} with 6 turns and simultaneous order"


def test_what_is_drawn_has_no_protocol() -> None:
    drawn = held_out(compose(["env=price", "evaluation.scenarios=3"]))
    assert [s.id for s in drawn.scenarios] == [f"price/test/{n}" for n in range(3)]
    assert (drawn.split, drawn.protocol, drawn.both_seats) == ("test", None, False)
    assert drawn.subsets == {}
    scenes = held_out(compose(["env=open", "evaluation.scenarios=3", "evaluation.split=dev"]))
    assert scenes.subsets == {"judged": {f"open/dev/{n}" for n in range(3)}}


def test_scenarios_are_found_again_by_their_ids(sotopia: Callable[..., HeldOut]) -> None:
    found = sotopia()
    assert [found.scenario_of(s.id) for s in found.scenarios] == list(found.scenarios)
    with pytest.raises(DataError, match="sotopia/tea/c9 was played but is not among the 3"):
        found.scenario_of("sotopia/tea/c9")


def test_three_seats_are_refused(tmp_path: Path) -> None:
    path = write_files(tmp_path / "three", third_goal=True)
    with pytest.raises(ConfigError, match="sotopia/tea/c1 has 3 seats"):
        held_out(compose(["env=sotopia", f"env.path={path}"]))


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """A run with a clone and a policy, that were asked in plain English."""
    folder = tmp_path / "a_run" / "checkpoints"
    for iteration in (0, 2):
        save_checkpoint(
            folder / f"{iteration:04d}",
            instruct_model(seed=iteration),
            instruct_tokenizer(),
            {"iteration": iteration},
        )
    (folder.parent / "config.yaml").write_text(yaml.safe_dump({"policy": {"prompt_style": "full"}}))
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """What `threads=1` sets lasts no longer than a test."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


SHORT = ("env=sotopia", "env.max_turns=4", "policy.max_new_tokens=4", "threads=1")


def evaluated(tmp_path: Path, *words: str) -> tuple[dict[str, Any], Path]:
    """The summary of an evaluation, and its folder."""
    config = compose([*SHORT, *words, f"output_root={tmp_path}"])
    check_before_start(config)
    evaluate_policy(config)
    folder = tmp_path / "evaluations" / "latest"
    return json.loads((folder / "summary.json").read_text()), folder


@pytest.mark.usefixtures("one_thread")
def test_a_checkpoint_and_its_clone_play_every_combination_from_both_seats(
    checkpoints: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = (f"policy.name={checkpoints / '0002'}", f"env.path={files}")
    summary, folder = evaluated(tmp_path, *names)
    assert summary["protocol"] == f"{PROTOCOL} with 4 turns"
    assert (summary["split"], summary["scenarios"]) == ("all", 3)
    policies = {name: set(found) for name, found in summary["policies"].items()}
    assert policies == {"bc": {"self", "frozen_bc"}, "final": {"self", "frozen_bc"}}
    counts = {"self": {"played": 3, "unscored": 2}, "frozen_bc": {"played": 6, "unscored": 4}}
    assert summary["episodes"] == {"bc": counts, "final": counts}
    assert summary["unscored"] == 2 * (2 + 4)
    assert summary["policies"]["final"]["frozen_bc"]["goal"]["n"] == 1, "the books alone"
    checked, judged = summary["subsets"]["verifiable"], summary["subsets"]["judged"]
    assert checked["policies"] == summary["policies"]
    assert summary["subsets"]["deal-or-no-deal"] == checked
    assert checked["paired"]["self"]["goal"] == {"mean": 0, "ci95": None, "n": 1}
    assert judged["policies"]["final"] == {"self": {}, "frozen_bc": {}}, "no number"
    assert judged["episodes"]["final"]["frozen_bc"] == {"played": 4, "unscored": 4}
    with Store.read_only(folder / "store.sqlite") as store:
        played = store.episodes("evaluate-final-frozen_bc", 2)
    assert [(e.episode.scenario.id, e.players) for e in played] == [
        (scenario_id, players)
        for scenario_id in BOOKS + TEA
        for players in (("policy", "frozen_bc"), ("frozen_bc", "policy"))
    ]
    said = " ".join(capsys.readouterr().out.split())
    assert f"partner: frozen_bc (3 combinations, {PROTOCOL} with 4 turns, split all)" in said
    assert "partner: frozen_bc (judged alone: 2 combinations, " in said
    assert "4 of 6" in said


@pytest.mark.usefixtures("one_thread")
def test_any_model_is_its_own_partner_on_the_hard_split(files: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    instruct_model().save_pretrained(folder)
    instruct_tokenizer().save_pretrained(folder)
    words = (f"policy.name={folder}", f"env.path={files}", "env.split=hard")
    summary, _ = evaluated(tmp_path, *words)
    assert summary["policies"] == {"final": {"self": {}}}
    assert (summary["split"], summary["unscored"], summary["paired"]) == ("hard", 1, {})
    note, *alarms = summary["notes"]
    assert all(
        alarm.startswith("ALARM") for alarm in alarms
    )  # and none on a control, for which nobody asked
    assert note.startswith(
        "Unscored episodes: 1, of which 1 for this reason: Scenario sotopia/tea/c1 "
    )


def test_what_cannot_be_read_is_said_before_a_model_is_loaded(files: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    four_words().save_pretrained(model)
    words = ["env=sotopia", f"policy.name={model}", f"output_root={tmp_path}"]
    check_before_start(compose([*words, f"env.path={files}", "env.split=hard"]))
    check_before_start(compose([*words, "env.path=hf://owner/data@main"]))
    for path, fault in (
        (f"{tmp_path}/none", "there is no such folder; give the folder with SOTOPIA's files"),
        (str(model), "that folder has no environment_profiles.jsonl, agent_profiles.jsonl, env_"),
        ("hf://data", "names nothing on the hub; expected hf://OWNER/NAME"),
    ):
        with pytest.raises(ConfigError) as caught:
            check_before_start(compose([*words, f"env.path={path}"]))
        assert fault in str(caught.value)
    (files / "hard_combos.json").unlink()
    check_before_start(compose([*words, f"env.path={files}"]))
    with pytest.raises(ConfigError, match=r"has no hard_combos\.json"):
        check_before_start(compose([*words, f"env.path={files}", "env.split=hard"]))


@pytest.mark.parametrize("words", [["env=open"], ["env=sotopia", "env.path=somewhere"]])
def test_scenes_are_not_shown_to_the_small_model(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"which the small model cannot read; set policy\.name"):
        check_before_start(compose(words))


def test_the_protocols_folder_is_not_trained_on() -> None:
    with pytest.raises(ConfigError, match=r"to measure on .* give a file of other scenes"):
        check_before_training(compose(["env=sotopia", "env.path=somewhere"]))


@pytest.mark.parametrize(
    ("split", "combinations", "verifiable"),
    [("all", 450, 150), ("hard", 70, 25), ("cooperative", 215, 50), ("competitive", 235, 100)],
)
def test_the_plans_over_sotopias_own_files(split: str, combinations: int, verifiable: int) -> None:
    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    path = Path(os.environ.get("PARLEY_DATA", beside)) / "sotopia"
    if not path.is_dir():
        pytest.skip(f"no published data in {path}; set PARLEY_DATA")
    found = held_out(compose(["env=sotopia", f"env.path={path}", f"env.split={split}"]))
    assert (found.protocol, len(found.scenarios)) == ("parley-sotopia/1", combinations)
    checked = found.subsets["verifiable"]
    sources = [found.subsets[name] for name in set(found.subsets) - {"verifiable", "judged"}]
    assert len(checked) == sum(map(len, sources)) == verifiable
    assert checked == frozenset().union(*sources)
    assert len(found.subsets["judged"]) == combinations - verifiable
    policy, clone = line_player("policy"), line_player("frozen_bc")
    alone, _ = evaluation_plans(policy, policy, "self", found.scenarios, seed=0, both_seats=True)
    plans, seats = evaluation_plans(
        policy, clone, "frozen_bc", found.scenarios, seed=0, both_seats=True
    )
    assert [plan.scenario for plan in alone] == list(found.scenarios)
    assert [plan.scenario for plan in plans[::2]] == list(found.scenarios)
    assert [plan.scenario for plan in plans[1::2]] == list(found.scenarios)
    assert seats == ((0,), (1,)) * combinations
    assert len({plan.id for plan in plans}) == 2 * combinations
