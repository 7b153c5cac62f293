"""The printed scenario and episode say what there is to know."""

from __future__ import annotations

import pytest
from rich.console import Console, RenderableType

from envs.random_play import play_randomly
from envs.scenarios import FAMILIES, draw
from envs.show import main, outcome_view, scenario_view, transcript_view
from envs.types import Action, ActionType, EndReason, Episode, Scenario, Turn


def printed(*views: RenderableType) -> str:
    console = Console(width=140)
    with console.capture() as captured:
        console.print(*views)
    return captured.get()


def test_both_private_sides_are_shown(pears: Scenario) -> None:
    text = printed(scenario_view(pears))
    for words in ("Two pears.", "pear=3 aim=3", "pear=1 aim=1", "secret: sugar", "secret: salt"):
        assert words in text


def test_turns_and_outcome_are_shown(pears: Scenario, chat: Scenario) -> None:
    turns = (
        Turn(0, 0, Action(ActionType.SPEAK, "[bold]hi[/bold]")),
        Turn(1, 1, Action(ActionType.NONE, invalid="got 'x'")),
    )
    text = printed(transcript_view(Episode(pears, turns, EndReason.LEFT, None)))
    assert "say [bold]hi[/bold]" in text
    assert "none  (got 'x')" in text
    # One pear each: 3 of 3 points and 1 of 1; two pears to seat 0 would be the best sum, 6.
    text = printed(outcome_view(Episode(pears, turns, EndReason.DEAL, (1,))))
    assert "Ended by: deal. Deal, in agent_0's words: 1 for me" in text
    assert "agent_0: 3 of 3 points, goal 10.0 of 10" in text
    assert "agent_1: 1 of 1 points, goal 10.0 of 10" in text
    assert "best sum of points was 6" in text
    assert "Only a judge" in printed(outcome_view(play_randomly(chat)))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_shown(family: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([family, "--split", "test", "--index", "2"]) == 0
    shown = capsys.readouterr().out
    assert f"{family}/test/2" in shown
    assert draw(family, "test", 2).briefs[0].split()[0] in shown


def test_difficulty_and_order_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["match", "--difficulty", "hard", "--order", "simultaneous"]) == 0
    shown = capsys.readouterr().out
    assert "match-hard/train/0" in shown
    assert main(["open", "--difficulty", "easy"]) == 2
    assert "no difficulties" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["match", "--difficulty", "brutal"])
    assert "{easy,medium,hard}" in capsys.readouterr().err


def test_an_unknown_family_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chess"]) == 2
    assert "chess" in capsys.readouterr().err
