"""The contract test that every scenario family must pass; it ships for families of other packages.

A family's whole test is one line: `check_family(lambda index: draw("mine", "train", index))`.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import asdict

from gymnasium.utils.env_checker import check_env
from pettingzoo.test import (  # type: ignore[import-untyped]
    api_test,
    parallel_api_test,
    parallel_seed_test,
    seed_test,
)

from envs.actions import CODECS
from envs.aec import SocialAEC, SocialParallel
from envs.bargaining import EMPTY_TABLE, apply_act
from envs.errors import ActionError
from envs.gym import SocialGymEnv
from envs.random_play import play_randomly
from envs.referee import MAX_GOAL, goal_score
from envs.scenarios.task import Task
from envs.social import Order, Rules, replay, view_of
from envs.types import Action, ActionType, Deal, Scenario

_GARBAGE = ("", " ", "\u2603", "0", "-1", "99999999999999999999", "you you you", "=" * 500)


def check_family(draw: Callable[[int], Scenario], count: int = 20) -> None:
    """Check the first `count` scenarios of a family, then play some under public checkers.

    Args:
        draw: scenario number `index`; uncached, so that drawing twice is a test of determinism.

    Raises:
        AssertionError: a sentence that names the scenario and what is wrong with it.
    """
    for index in range(count):
        scenario = draw(index)
        assert draw(index) == scenario, f"Drawing scenario {index} twice gives two scenarios."
        check_scenario(scenario)
    check_environments(draw(0))


def check_scenario(scenario: Scenario) -> None:
    """Check one scenario: its task, what each seat may know, and random play to the end."""
    check_privacy(scenario)
    if scenario.task is not None:
        check_task(scenario.task, scenario.id)
    for seed, order in enumerate(Order):
        check_play(scenario, Rules(order=order), seed)


def check_task(task: Task, name: str = "the task") -> None:
    """Check that the aims can be reached together and that offers of all deals can be read."""
    deals = task.deals()
    assert deals, f"{name} has no deals, expected at least one."
    assert len(set(deals)) == len(deals), f"{name} lists a deal twice."
    assert min(task.aims) > 0, f"{name} has aims {task.aims}, expected both above 0."
    assert any(_reaches_aims(task, deal) for deal in deals), (
        f"{name} has aims {task.aims} that no deal reaches together."
    )
    for deal in deals:
        for seat in (0, 1):
            _check_points(task, seat, deal, name)
            _check_terms(task, seat, deal, name)
    for seat in (0, 1):
        _check_garbage(task, seat, name)
        pattern = re.compile(task.offer_pattern(seat))
        for deal in task.offerable_deals(seat, careful=False):
            assert pattern.fullmatch(terms := task.terms(seat, deal)), (
                f"{name}: seat {seat} may offer {terms!r}, which its offer_pattern does not match."
            )


def _reaches_aims(task: Task, deal: Deal) -> bool:
    return all(goal_score(task, seat, deal) == MAX_GOAL for seat in (0, 1))


def _check_points(task: Task, seat: int, deal: Deal, name: str) -> None:
    points = task.utility(seat, deal)
    assert math.isfinite(points), f"{name}: {deal} is worth {points} to seat {seat}."
    sums = task.appraise(seat, deal)
    assert sums, f"{name}: appraising {deal} for seat {seat} gives no steps."
    assert sums[-1] == points, (
        f"{name}: appraising {deal} for seat {seat} ends in {sums[-1]}, but it is worth {points}."
    )


def _check_terms(task: Task, seat: int, deal: Deal, name: str) -> None:
    terms = task.terms(seat, deal)
    read = task.parse_terms(seat, terms)
    assert read == deal, f"{name}: seat {seat} words {deal} as {terms!r}, which reads as {read}."
    offer = Action(ActionType.ACT, f"offer {terms}")
    for codec in CODECS.values():
        decoded = codec.decode(codec.encode(offer))
        assert decoded == offer, f"{name}: {terms!r} does not survive the codec {codec.name!r}."
    table = apply_act(EMPTY_TABLE, task, seat, offer.argument)
    closed = apply_act(table, task, 1 - seat, "accept").closed
    assert closed == deal, f"{name}: offering {deal} and accepting it closes {closed}."


def _check_garbage(task: Task, seat: int, name: str) -> None:
    """Check that any text given as terms is read as a deal of the task or raises `ActionError`."""
    deals = set(task.deals())
    for text in _GARBAGE:
        with contextlib.suppress(ActionError):
            deal = task.parse_terms(seat, text)
            assert deal in deals, f"{name}: {text!r} reads as {deal}, which is no deal of it."


def check_privacy(scenario: Scenario) -> None:
    """Check that no seat's view reveals another seat's goal, brief or secret."""
    seats = range(len(scenario.goals))
    for seat in seats:
        view = view_of(scenario, seat)
        shown = json.dumps(asdict(view))
        own = {view.goal, view.brief, view.profile.secret, ""}
        for other in seats:
            private = (
                scenario.goals[other],
                scenario.briefs[other],
                scenario.profiles[other].secret,
            )
            for text in set(private) - own:
                assert json.dumps(text)[1:-1] not in shown, (
                    f"{scenario.id}: seat {seat} can see what is private to seat {other}: {text!r}"
                )


def check_play(scenario: Scenario, rules: Rules, seed: int) -> None:
    """Play at random to the end and check the transcript, the limits and that it replays."""
    episode = play_randomly(scenario, rules, seed)
    assert 1 <= len(episode.turns) <= rules.max_turns, (
        f"{scenario.id}: an episode of {len(episode.turns)} turns, expected 1 to {rules.max_turns}."
    )
    assert [turn.index for turn in episode.turns] == list(range(len(episode.turns)))
    again = replay(scenario, rules, episode.turns, seed).episode()
    assert again == episode, f"{scenario.id}: replaying the turns gives another episode."


def check_environments(scenario: Scenario, cycles: int = 60) -> None:
    """Run PettingZoo's checkers of both interfaces and Gymnasium's on the scenario."""
    scenarios = (scenario,)
    # PettingZoo warns about every observation that is not an array, and prints its progress.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore", UserWarning)
        for order in Order:
            rules = Rules(order=order)
            api_test(SocialAEC(scenarios, rules), num_cycles=cycles)
            seed_test(lambda rules=rules: SocialAEC(scenarios, rules), num_cycles=cycles)
        parallel_api_test(SocialParallel(scenarios), num_cycles=cycles)
        parallel_seed_test(lambda: SocialParallel(scenarios), num_cycles=cycles)
        for seat in range(len(scenario.goals)):
            check_env(SocialGymEnv(scenarios, seat=seat))
