"""Dialogues of scripted bargainers, for the tests of whoever talks."""

from __future__ import annotations

from collections.abc import Sequence

from agents.scripted import BARGAINING_STYLES, Bargainer
from envs.scenarios import draw
from envs.social import Rules, SocialState, replay
from envs.types import Action, ActionType, Episode, Scenario, Turn

RULES = Rules(max_turns=12)


def talk(
    scenario: Scenario, styles: tuple[str, str], seed: int, past: Sequence[Turn] = ()
) -> Episode:
    """A dialogue of two bargainers to its end, from its start or after `past`."""
    state = replay(scenario, RULES, past)
    sides = bargainers(scenario, styles, seed)
    while state.to_act:
        state.step({seat: sides[seat].choose(state.observe(seat)) for seat in state.to_act})
    return state.episode()


def bargainers(scenario: Scenario, styles: tuple[str, str], seed: int) -> list[Bargainer]:
    task = scenario.task
    assert task is not None
    return [
        Bargainer(task, seat, BARGAINING_STYLES[name], seed) for seat, name in enumerate(styles)
    ]


def scenarios(family: str, count: int) -> list[Scenario]:
    return [draw(family, "test", index) for index in range(count)]


def turns_of(*acts: tuple[int, str]) -> tuple[Turn, ...]:
    """(seat, act) pairs as a transcript; "say ..." speaks."""
    return tuple(
        Turn(n, seat, Action(ActionType.SPEAK, text[4:]))
        if text.startswith("say ")
        else Turn(n, seat, Action(ActionType.ACT, text))
        for n, (seat, text) in enumerate(acts)
    )


def after(scenario: Scenario, turns: Sequence[Turn]) -> SocialState:
    return replay(scenario, RULES, turns)
