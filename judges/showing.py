"""What a model is shown of a branch: what came behind the shared history, under which labels."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from envs.referee import goal_score
from envs.types import Episode, Scenario
from judges.sealed import labels, shown_ending, shown_turns


def shown_continuation(episode: Episode, turn: int, names: Sequence[str]) -> dict[str, object]:
    """The turns from `turn` on, how it ended and, where a program can tell, the goal scores.

    Args:
        names: the agents' labels, in seat order.
    """
    shown: dict[str, object] = {
        "turns": shown_turns(episode.turns[turn:], names),
        "ending": shown_ending(episode),
    }
    task = episode.scenario.task
    if task is not None:
        scores = {
            name: round(goal_score(task, seat, episode.deal), 1) for seat, name in enumerate(names)
        }
        shown["goal_scores"] = {name: scores[name] for name in sorted(scores)}
    return shown


def drawn_labels(scenario: Scenario, sample: int = 0) -> tuple[str, ...]:
    """The agents' labels in seat order: drawn from the scenario, swapped in every other sample."""
    drawn = Random(f"labels/{scenario.id}").getrandbits(1)
    return labels(len(scenario.profiles), swapped=(drawn + sample) % 2 == 1)
