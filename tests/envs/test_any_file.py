"""Files of scenes and dialogues, mutated: what is read keeps the contract, all else is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envs.contract import check_scenario
from envs.errors import DataError
from envs.referee import MOST_DEALS
from envs.scenarios.casino import load_casino
from envs.scenarios.dealornodeal import load_dealornodeal
from envs.scenarios.episode_logs import EpisodeLogs, is_episode_log, read_episode_logs
from envs.scenarios.human import HumanData
from envs.scenarios.markup import check_markup, seen_by, seen_by_all
from envs.scenarios.open_ended import draw_scene, read_scenes, scene_split
from envs.scenarios.records import (
    AgentRecord,
    EnvironmentRecord,
    parsed,
    read_json_list,
    read_jsonl,
    read_values,
)
from envs.scenarios.sotopia import load_sotopia, read_sotopia
from envs.scenarios.sotopia_tasks import READERS, read_verifiable
from envs.types import Scenario
from tests.envs.logs import ANA, BIO, episode_log
from tests.envs.test_human import DEAL
from tests.envs.test_sotopia import SCENE, agent
from tests.outside_data import (
    check_sentence,
    dumped,
    fuzz,
    in_no_time,
    json_values,
    long_texts,
    mutated,
    texts,
    torn,
)

BOOKS = "Books give you 5 points each, hats give you 3 points each, the ball gives you 2 points"
FRIENDS = "You know\nAna: Hobby: chess Company: X\nBen: Hobby: go Company: Y"
TASK_SCENES = [
    {
        "source": "deal-or-no-deal",
        "scenario": "They divide 3 books, 1 hat and 2 balls.",
        "agent_goals": [BOOKS, BOOKS],
    },
    {
        "source": "craigslist_bargains",
        "scenario": "A desk is listed at $30.",
        "agent_goals": [
            "You are the buyer, your target price is $18.",
            "The seller: target price $15.",
        ],
    },
    {"source": "mutual_friends", "scenario": "At a party.", "agent_goals": [FRIENDS, FRIENDS]},
]
SCENES = [SCENE, *(SCENE | scene | {"env_id": f"t{n}"} for n, scene in enumerate(TASK_SCENES))]
FOLDER: dict[str, list[dict[str, Any]]] = {
    "environment_profiles.jsonl": SCENES,
    "agent_profiles.jsonl": [agent("ann"), agent("bo")],
    "env_agent_combo_storages.jsonl": [
        {"combo_id": f"c{n}", "env_id": scene["env_id"], "agent_ids": ["ann", "bo"]}
        for n, scene in enumerate(SCENES)
    ],
    "relationship_profiles.jsonl": [
        {"relationship_id": "r", "agent1_id": "ann", "agent2_id": "bo", "relationship": "3"}
    ],
    "hard_combos.json": [{"pk": "c3", "env_id": "e1", "agent_ids": ["bo", "ann"]}],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all examples, each of which writes its files anew."""
    return tmp_path_factory.mktemp("files")


def lines(records: list[Any]) -> str:
    return "\n".join(map(dumped, records)) + "\n"


def check_read(scenario: Scenario) -> None:
    """Valid: it keeps the contract of scenarios, and its deals can be tried one by one."""
    check_scenario(scenario)
    if scenario.task is not None:
        assert len(scenario.task.deals()) <= MOST_DEALS


@fuzz(50)
@given(files=mutated(FOLDER))
def test_any_folder_of_sotopia_is_scenarios_or_says_what_is_wrong(
    folder: Path, files: dict[str, Any]
) -> None:
    for old in folder.iterdir():
        old.unlink()
    for name in FOLDER:
        records = files.get(name)
        if isinstance(records, list):
            (folder / name).write_text(dumped(records) if name.endswith("n") else lines(records))
        elif records is not None:
            (folder / name).write_text(dumped(records))
    for split, verifiable in (("all", True), ("hard", True), ("competitive", False)):
        try:
            with in_no_time():
                scenarios = load_sotopia(folder, split, verifiable=verifiable)
        except DataError as error:
            check_sentence(error)
        else:
            for scenario in scenarios:
                check_read(scenario)
    try:
        _ = read_sotopia(folder).relationships
    except DataError as error:
        check_sentence(error)


numbers = st.sampled_from(
    ["0", "1", "3", "007", "999", "1000000", "9" * 400, "9" * 5000, "\u0663", "-1", "1.5", ""]
)


@example(data=None, values=("1000000", "1000000", "1000000"))
@example(data=None, values=("9" * 5000, "1", "1"))
@example(data=None, values=("3", "0", "0"))
@fuzz(30)
@given(data=st.none() | st.data(), values=st.tuples(numbers, numbers, numbers))
def test_numbers_in_the_prose_of_a_scene_are_a_task_or_refused(
    data: st.DataObject | None, values: tuple[str, str, str]
) -> None:
    for scene in TASK_SCENES:
        text = dumped(scene)
        for old, new in zip(("3", "5", "1"), values, strict=True):
            text = text.replace(f"${old}", f"${new}").replace(f" {old} ", f" {new} ")
        record = read_text_record(text)
        if data is not None:
            record = mutated_goal(record, data)
        try:
            with in_no_time():
                read = read_verifiable(record)
        except DataError as error:
            check_sentence(error)
        else:
            assert read is not None
            assert 0 < len(read.task.deals()) <= MOST_DEALS
            assert min(read.task.aims) > 0


def read_text_record(text: str) -> EnvironmentRecord:
    return EnvironmentRecord.model_validate_json(
        '{"env_id": "e", "relationship": 0, ' + text.removeprefix("{")
    )


def mutated_goal(record: EnvironmentRecord, data: st.DataObject) -> EnvironmentRecord:
    goals = list(record.agent_goals)
    seat = data.draw(st.integers(0, 1))
    goals[seat] = data.draw(torn(goals[seat].encode())).decode("utf-8", "replace")
    return record.model_copy(update={"agent_goals": tuple(goals)})


@pytest.mark.parametrize("name", ["scenes.jsonl", "scenes.json"])
@fuzz(60)
@given(content=torn(lines(SCENES).encode(), most=4) | mutated(SCENES).map(dumped).map(str.encode))
def test_any_bytes_are_records_or_say_what_is_wrong(
    folder: Path, name: str, content: bytes
) -> None:
    file = folder / name
    file.write_bytes(content)
    for read in (
        lambda: read_jsonl(file, EnvironmentRecord),
        lambda: read_json_list(file, AgentRecord),
        lambda: read_values(file),
        lambda: read_scenes.__wrapped__(file),
    ):
        try:
            records = read()
        except DataError as error:
            check_sentence(error, most=len(str(folder)) + 400)
        else:
            assert all(
                isinstance(record, (EnvironmentRecord, AgentRecord, tuple)) for record in records
            )


@fuzz(50)
@given(scene=mutated(SCENES[1], most=2))
def test_any_scene_of_a_file_can_be_played_or_is_refused(folder: Path, scene: Any) -> None:
    file = folder / "own.jsonl"
    file.write_text(lines([scene]))
    read_scenes.cache_clear()
    try:
        records = read_scenes.__wrapped__(file)
        drawn = draw_scene("own", file, scene_split(records[0]), 0)
    except DataError as error:
        check_sentence(error, most=len(str(folder)) + 400)
    else:
        check_read(drawn)


@fuzz(60)
@given(values=json_values)
def test_no_value_is_taken_for_another_record(values: Any) -> None:
    for model in (EnvironmentRecord, AgentRecord):
        with pytest.raises(DataError) as refused:
            parsed(values, model, "here")
        check_sentence(refused.value, most=400)


PUBLISHED = {
    "episode_id": "e",
    "environment_id": "x",
    "agent_ids": ["a", "b"],
    "raw_messages": episode_log()["messages"],
    "raw_rewards": [1.0, 2.0],
    "scenario": "A fence.",
    "social_goals": {ANA: "Pay <extra_info>half</extra_info>"},
}


def read_log(values: Any) -> EpisodeLogs | None:
    try:
        with in_no_time():
            found = read_episode_logs([("log.json, entry 1", values)])
    except DataError as error:
        check_sentence(error, most=500)
        return None
    assert found.read == 1 == len(found.dialogues) + found.left_out.total()
    for dialogue in found.dialogues:
        scenario = dialogue.scenario
        assert scenario.context
        assert all(scenario.goals)
        assert all(goal is None or 0 <= goal <= 10 for goal in dialogue.goals)
        assert [turn.index for turn in dialogue.turns] == list(range(len(dialogue.turns)))
    return found


@fuzz(80)
@given(log=mutated(episode_log()) | mutated(PUBLISHED) | json_values)
def test_any_log_is_a_dialogue_or_says_what_is_wrong(folder: Path, log: Any) -> None:
    file = folder / "logs.json"
    file.write_text(f"[{dumped(log)}]")
    try:
        ((_, values),) = read_values(file)
    except DataError as error:
        check_sentence(error)
    else:
        is_episode_log(values)
        read_log(values)


def with_biography(text: str) -> dict[str, Any]:
    log = copy.deepcopy(episode_log())
    log["messages"][0][0][2] = log["messages"][0][0][2].replace(BIO[ANA], text)
    return log


BIOGRAPHIES = [
    *long_texts(
        *(" ", "x", ". ", ". he pronouns. ", "Personality and values description: ", "'s secrets:"),
        ". he pronouns. Personality and values description: a ",
        ". he pronouns. a Personality and values description: b'",
        "Ana's ",
    )
]


@pytest.mark.parametrize("long", BIOGRAPHIES, ids=lambda text: repr(text[:20]))
@pytest.mark.parametrize(
    "head",
    ["", f"{ANA} is a 34-year-old ", f"{ANA} is a {'9' * 5000}-year-old female x. He pronouns."],
)
def test_no_biography_takes_long(head: str, long: str) -> None:
    found = read_log(with_biography(head + long))
    assert found is not None


@example(BIO[ANA].replace("34", "9" * 5000))
@fuzz()
@given(text=torn(BIO[ANA].encode()).map(lambda content: content.decode("utf-8", "replace")))
def test_any_biography_is_a_character(text: str) -> None:
    found = read_log(with_biography(f"{ANA} {text.removeprefix(ANA)}"))
    for dialogue in found.dialogues if found is not None else ():
        assert dialogue.scenario.profiles[0].first_name == "Ana"


@pytest.mark.parametrize(
    "said",
    [
        f"[private to [{text}"
        for text in long_texts("a", "]]", "]] ", ']]said: "', "]][action] ", "[private to [")
    ]
    + [f'said: "{text}' for text in long_texts('"', "\\", " ")],
    ids=lambda text: repr(text[12:24]),
)
def test_no_message_takes_long(said: str) -> None:
    log = episode_log()
    log["messages"][0][2][2] = said
    read_log(log)


tags = st.sampled_from(
    [
        "<extra_info>",
        "</extra_info>",
        "<strategy_hint>",
        "</p>",
        '<p viewer="agent_0">',
        "(",
        ")",
        "<p",
        " ",
    ]
)


@fuzz()
@given(text=st.lists(tags | texts, max_size=8).map("".join))
def test_any_markup_is_shown_in_part_or_refused(text: str) -> None:
    try:
        check_markup(text)
    except ValueError as error:
        check_sentence(str(error), most=200)
    else:
        for shown in (seen_by(text, 0), seen_by_all(text)):
            assert "<extra_info>" not in shown


@pytest.mark.parametrize(
    "text",
    long_texts(
        "<",
        "<p",
        "<p ",
        "<extra_info>",
        "(",
        "( ",
        "<a",
        '<p viewer="agent_0"',
        "</p>",
        "<p>( </p>",
    ),
    ids=lambda text: text[:12],
)
def test_no_markup_takes_long(text: str) -> None:
    for whole in (text, f"<p>{text}</p>", f"<p viewer='agent_{'1' * 5000}'>{text}"):
        with in_no_time():
            try:
                check_markup(whole)
            except ValueError as error:
                check_sentence(str(error), most=200)
            else:
                seen_by(whole, 0)


def check_human(data: HumanData) -> None:
    for one in data.episodes:
        check_read(one.episode.scenario)
    for remark in (*data.left_out, *data.remarks, *data.disagreeing):
        check_sentence(remark.reason, most=600)


@fuzz(50)
@given(dialogues=mutated([DEAL]))
def test_any_file_of_casino_is_read_or_refused(folder: Path, dialogues: Any) -> None:
    file = folder / "casino_valid.json"
    file.write_text(dumped(dialogues))
    try:
        check_human(load_casino(file))
    except DataError as error:
        check_sentence(error, most=len(str(folder)) + 400)


NO_DEAL = (
    "<input> 1 4 4 1 1 2 </input> <dialogue> YOU: i love hats . <eos> THEM: ok <eos> YOU: "
    "<selection> </dialogue> <output> item0=1 item1=4 item2=0 item0=0 item1=0 item2=1 </output> "
    "<partner_input> 1 0 4 2 1 2 </partner_input>"
)


@example(
    NO_DEAL.replace("<input> 1", "<input> 9999999").replace("put> 1 0", "put> 9999999 0").encode()
)
@example(NO_DEAL.replace("<input> 1", f"<input> {'9' * 5000}").encode())
@example(NO_DEAL.replace("item0=1", f"item0={'9' * 5000}").encode())
@fuzz(50)
@given(content=torn(NO_DEAL.encode()))
def test_any_file_of_deal_or_no_deal_is_read_or_refused(folder: Path, content: bytes) -> None:
    file = folder / "val.txt"
    file.write_bytes(content)
    try:
        with in_no_time():
            check_human(load_dealornodeal(file))
    except DataError as error:
        check_sentence(error, most=len(str(folder)) + 400)


@pytest.mark.parametrize("source", READERS)
def test_no_prose_of_a_task_takes_long(source: str) -> None:
    scene = next(scene for scene in TASK_SCENES if scene["source"] == source)
    for text in long_texts(
        "1 ", "9", "book ", "book is ", "target price ", "a: ", "Hobby: ", "$1", " ", "\n"
    ):
        for changes in ({"scenario": text}, {"agent_goals": (text, str(scene["agent_goals"][1]))}):
            record = EnvironmentRecord(env_id="e", relationship=0, **(scene | changes))  # type: ignore[arg-type]
            with in_no_time():
                try:
                    read_verifiable(record)
                except DataError as error:
                    check_sentence(error)
