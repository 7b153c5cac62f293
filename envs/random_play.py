"""Random play, for contract tests and for looking at a family."""

from __future__ import annotations

from random import Random

from envs.social import Rules, SocialState
from envs.types import Action, ActionType, Episode, Scenario


def play_randomly(scenario: Scenario, rules: Rules | None = None, seed: int = 0) -> Episode:
    """Play an episode at random: mostly offers and answers where there is a task."""
    generator = Random(seed)
    state = SocialState(scenario, rules, seed)
    while state.end is None:
        state.step({seat: random_action(scenario, seat, generator) for seat in state.to_act})
    return state.episode()


def random_action(scenario: Scenario, seat: int, generator: Random) -> Action:
    """A random action of any kind, whether or not the rules allow it now."""
    task = scenario.task
    kind = generator.choices(("offer", "accept", "reject", "say", "leave"), (5, 2, 1, 3, 0.3))[0]
    if kind == "offer" and task is not None:
        offer = task.terms(seat, generator.choice(task.deals()))
        return Action(ActionType.ACT, f"offer {offer}")
    if kind in ("accept", "reject"):
        return Action(ActionType.ACT, kind)
    if kind == "leave":
        return Action(ActionType.LEAVE)
    return Action(ActionType.SPEAK, generator.choice(("hello", "what do you want?", "let me see")))
