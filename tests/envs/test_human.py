"""CaSiNo and Deal or No Deal: small files written here, and the real ones where at hand."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from envs.contract import check_environments, check_scenario
from envs.errors import ConfigError, DataError, OutOfTurnError
from envs.referee import goal_score
from envs.scenarios.casino import load_casino
from envs.scenarios.dealornodeal import load_dealornodeal
from envs.scenarios.human import recorded_episode
from envs.social import Rules, SocialState, replay
from envs.types import Action, ActionType, EndReason, Scenario, Turn

SAY = Action(ActionType.SPEAK, "hm")


def side(high: str, medium: str, low: str, points: int) -> dict[str, Any]:
    return {
        "value2issue": {"High": high, "Medium": medium, "Low": low},
        "value2reason": {"High": f"{high} first", "Medium": f"{medium} next", "Low": "meh"},
        "outcomes": {
            "points_scored": points,
            "satisfaction": "Slightly satisfied",
            "opponent_likeness": "Extremely like",
        },
        "personality": {"svo": "proself"},
    }


def said(speaker: int, text: str, **data: Any) -> dict[str, Any]:
    return {"text": text, "task_data": data, "id": f"mturk_agent_{speaker}"}


def issues(food: int, water: int, firewood: int) -> dict[str, str]:
    return {"Food": str(food), "Water": str(water), "Firewood": str(firewood)}


SUBMIT = said(2, "Submit-Deal", issue2youget=issues(3, 1, 0), issue2theyget=issues(0, 2, 3))
# Seat 1 gets 3 food and 1 water: 3*5 + 1*3; seat 0 gets 2 water and 3 firewood: 2*4 + 3*5.
DEAL: dict[str, Any] = {
    "dialogue_id": 7,
    "chat_logs": [
        said(2, "Hi!"),
        said(2, "Are  you\nthere?"),
        said(1, "Submit-Deal, they say"),
        SUBMIT,
        said(1, "Accept-Deal", data="accept_deal"),
    ],
    "participant_info": {
        "mturk_agent_1": side("Firewood", "Water", "Food", 23),
        "mturk_agent_2": side("Food", "Firewood", "Water", 18),
    },
    "annotations": [["Hi!", "small-talk"]],
}


def casino(tmp_path: Path, *dialogues: dict[str, Any]) -> Path:
    path = tmp_path / "casino_valid.json"
    path.write_text(json.dumps(dialogues))
    return path


def changed(path: str, value: Any) -> dict[str, Any]:
    """`DEAL` with one entry, named like "chat_logs.4.text", set to `value`."""
    dialogue = copy.deepcopy(DEAL)
    *parents, last = path.split(".")
    at: Any = dialogue
    for key in parents:
        at = at[int(key) if key.isdecimal() else key]
    at[int(last) if last.isdecimal() else last] = value
    return dialogue


def test_a_negotiation_replays_in_its_own_order(tmp_path: Path) -> None:
    (one,) = load_casino(casino(tmp_path, DEAL)).episodes
    assert [turn.seat for turn in one.episode.turns] == [1, 1, 0, 1, 0]
    assert [turn.action.argument for turn in one.episode.turns] == [
        "Hi!",
        "Are you there?",
        "Submit-Deal, they say",
        "offer you food=0 water=2 firewood=3",
        "accept",
    ]
    assert one.episode.end is EndReason.DEAL
    assert one.episode.deal == (0, 2, 3)
    assert one.points == (23, 18)
    assert one.agrees
    assert one.reported[1].likeness == "Extremely like"
    assert '"Firewood first"' in one.episode.scenario.goals[0]
    check_scenario(one.episode.scenario)
    check_environments(one.episode.scenario)


def test_walking_away_is_worth_five_points_to_both(tmp_path: Path) -> None:
    walked = changed("chat_logs.4", said(1, "Walk-Away", data="walk_away"))
    for speaker in ("mturk_agent_1", "mturk_agent_2"):
        walked["participant_info"][speaker]["outcomes"]["points_scored"] = 5
    (one,) = load_casino(casino(tmp_path, walked)).episodes
    assert (one.episode.end, one.episode.deal) == (EndReason.LEFT, None)
    assert one.points == (5, 5)
    assert one.agrees
    task = one.episode.scenario.task
    assert task is not None
    assert goal_score(task, 0, None) == pytest.approx(10 * 5 / task.aims[0])


def test_other_points_than_the_recorded_ones_are_listed(tmp_path: Path) -> None:
    wrong = changed("participant_info.mturk_agent_1.outcomes.points_scored", 22)
    data = load_casino(casino(tmp_path, wrong))
    (found,) = data.disagreeing
    assert found.reason == "referee (23.0, 18.0), recorded (22, 18)"


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("chat_logs.4", said(2, "Accept-Deal", data="accept_deal"), "on one's own offer"),
        ("chat_logs.4", said(1, "bye"), "ended by turn limit, expected deal"),
        ("chat_logs.0", said(1, "Walk-Away", data="walk_away"), "does not replay"),
        ("chat_logs.3.task_data.issue2youget.Food", "2", "2 and 0 food of 3"),
        ("chat_logs.3.task_data.issue2youget", {"Food": "3"}, "cannot be read"),
    ],
)
def test_what_does_not_replay_is_left_out_with_the_reason(
    tmp_path: Path, path: str, value: Any, reason: str
) -> None:
    data = load_casino(casino(tmp_path, DEAL, changed(path, value)))
    assert len(data.episodes) == 1
    (found,) = data.left_out
    assert found.id == "casino/casino_valid/7"
    assert reason in found.reason


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("chat_logs.1.id", "mturk_agent_3", r"entry 2, field 'chat_logs\.1\.id'"),
        ("mood", "good", "entry 2, field 'mood'"),
        ("participant_info.mturk_agent_1.value2issue.Low", "Water", "one to one"),
        ("participant_info.mturk_agent_1.value2issue.Low", "Gold", "got 'Gold'"),
        ("participant_info.mturk_agent_2.value2reason", {}, "needs a reason"),
        ("participant_info", {}, "field 'participant_info'"),
    ],
)
def test_a_file_that_is_not_casinos_is_an_error(
    tmp_path: Path, path: str, value: Any, where: str
) -> None:
    with pytest.raises(DataError, match=where):
        load_casino(casino(tmp_path, DEAL, changed(path, value)))


AGREED = (
    "<input> 1 6 3 0 2 2 </input> <dialogue> THEM: book please <eos> YOU: no <eos> THEM: ok <eos> "
    "YOU: <selection> </dialogue> <output> item0=1 item1=0 item2=1 item0=0 item1=3 item2=1 "
    "</output> <partner_input> 1 2 3 2 2 1 </partner_input>"
)


def lines(tmp_path: Path, *text: str) -> Path:
    path = tmp_path / "val.txt"
    path.write_text("\n".join(text) + "\n")
    return path


def test_a_selection_is_an_offer_that_the_other_accepts(tmp_path: Path) -> None:
    (one,) = load_dealornodeal(lines(tmp_path, AGREED)).episodes
    assert [(turn.seat, turn.action.argument) for turn in one.episode.turns] == [
        (1, "book please"),
        (0, "no"),
        (1, "ok"),
        (0, "offer you book=0 hat=3 ball=1"),
        (1, "accept"),
    ]
    # YOU: a book and a ball, 6 + 2. THEM: three hats and a ball, 3*2 + 1.
    assert one.points == (8, 7)
    assert one.agrees
    assert one.episode.scenario.split == "dev"
    check_scenario(one.episode.scenario)
    check_environments(one.episode.scenario)


@pytest.mark.parametrize(
    ("word", "reason"),
    [("disagree", "different splits"), ("no_agreement", "no agreement"), ("disconnect", "lost")],
)
def test_without_agreement_nobody_gets_anything(tmp_path: Path, word: str, reason: str) -> None:
    start, _, rest = AGREED.partition("item0=1 ")
    _, _, end = rest.partition("</output>")
    line = f"{start}{' '.join([f'<{word}>'] * 6)} </output>{end}"
    data = load_dealornodeal(lines(tmp_path, AGREED, line))
    assert data.episodes[1].episode.end is EndReason.LEFT
    assert data.episodes[1].points == (0, 0)
    (remark,) = data.remarks
    assert remark.id == "dealornodeal/val/1"
    assert reason in remark.reason


def test_a_split_that_is_no_split_of_the_pool_disagrees_or_is_left_out(tmp_path: Path) -> None:
    short = AGREED.replace("item0=1 item1=0", "item0=0 item1=0")
    over = AGREED.replace("item1=3", "item1=4")
    other = AGREED.replace("<partner_input> 1", "<partner_input> 2")
    data = load_dealornodeal(lines(tmp_path, short, over, other))
    assert [one.id for one in data.disagreeing] == ["dealornodeal/val/0"]
    assert [one.id for one in data.left_out] == ["dealornodeal/val/1", "dealornodeal/val/2"]
    assert "gives 4 hat, but there are 3" in data.left_out[0].reason
    assert "different pools" in data.left_out[1].reason


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("<input>", "<in>", r"val\.txt, line 2: got '<in>"),
        ("1 6 3 0 2 2", "1 6 3 0 2", "line 2, field 'input': got '1 6 3 0 2'"),
        ("item2=1 </output>", "</output>", "line 2, field 'output'"),
        ("THEM: ok", "HIM: ok", "line 2, field 'dialogue': got 'HIM: ok'"),
    ],
)
def test_a_line_that_is_not_the_datasets_is_an_error(
    tmp_path: Path, old: str, new: str, where: str
) -> None:
    with pytest.raises(DataError, match=where):
        load_dealornodeal(lines(tmp_path, AGREED, AGREED.replace(old, new)))


def test_a_recorded_order_is_kept_to(chat: Scenario) -> None:
    rules = Rules(max_turns=3, recorded=(1, 1, 0))
    state = replay(chat, rules, [Turn(0, 1, SAY), Turn(1, 1, SAY)])
    assert state.to_act == (0,)
    with pytest.raises(OutOfTurnError, match=r"turn 3 of 3"):
        state.step({1: SAY})
    again = SocialState.restore(state.snapshot())
    again.step({0: SAY})
    assert again.end is EndReason.TURN_LIMIT


def test_a_recorded_order_must_fit(chat: Scenario) -> None:
    with pytest.raises(ConfigError, match="max_turns=20 and a recorded order of 2"):
        Rules(recorded=(0, 1))
    with pytest.raises(ConfigError, match=r"seats \[0, 2\], expected seats from 0 to 1"):
        SocialState(chat, Rules(max_turns=2, recorded=(0, 2)))


def test_a_dialogue_that_ends_otherwise_is_told(pears: Scenario) -> None:
    leave = Action(ActionType.LEAVE)
    assert recorded_episode(pears, [(0, leave)], EndReason.DEAL) == "ended by left, expected deal"
    reason = recorded_episode(pears, [(0, leave), (1, SAY)], EndReason.LEFT)
    assert isinstance(reason, str)
    assert "after the end" in reason


def test_all_of_casino_replays_with_the_recorded_points(published: Path) -> None:
    train = load_casino(published / "casino" / "casino_train.json")
    valid = load_casino(published / "casino" / "casino_valid.json")
    assert (len(train.episodes), len(valid.episodes)) == (900, 30)
    assert train.left_out + valid.left_out + train.disagreeing + valid.disagreeing == ()
    ends = [one.episode.end for one in train.episodes + valid.episodes]
    assert (ends.count(EndReason.DEAL), ends.count(EndReason.LEFT)) == (906, 24)


def test_all_of_deal_or_no_deal_replays(published: Path) -> None:
    data = load_dealornodeal(published / "dealornodeal" / "val.txt")
    assert len(data.episodes) == 1087
    assert data.left_out + data.disagreeing == ()
    # 129 disagree, 108 have no agreement, 6 lost the connection.
    assert len(data.remarks) == 243
