"""What is measured of a played episode, and what of an offer's worth makes a policy accept it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from agents.scripted import standing_offer
from envs.referee import joint_welfare
from envs.types import ActionType
from judges.base import DIMENSION_RANGES
from training.evaluation.statistics import Stat, bootstrap
from training.methods.records import PlayedEpisode
from training.methods.values import scores_of

Measures = dict[str, float]
"""The metrics of one seat in one episode, by name."""

ACCEPTANCE_BINS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Lower edges of an offer's worth as a share of the aim; the first bin holds all below 0.2."""


def measure(played: PlayedEpisode, seat: int) -> Measures:
    """The seven dimensions, and what tells skill from stubbornness.

    That is: the other side's goal, joint welfare (0..1), whether there was a deal, words a turn,
    turns, the share of invalid acts.
    """
    episode, scores = played.episode, scores_of(played, seat)
    own = [turn.action for turn in episode.turns if turn.seat == seat]
    words = [len(action.argument.split()) for action in own]
    return {
        **{name: float(getattr(scores, name)) for name in DIMENSION_RANGES},
        "partner_goal": scores_of(played, 1 - seat).goal,
        "joint_welfare": joint_welfare(episode.scenario.task, episode.deal)
        if episode.scenario.task
        else float("nan"),
        "deal_rate": float(episode.deal is not None),
        "words_per_turn": sum(words) / max(1, len(words)),
        "turns": float(len(episode.turns)),
        "invalid_rate": sum(action.invalid is not None for action in own) / max(1, len(own)),
    }


def mean_measures(parts: Sequence[Measures]) -> Measures:
    """The mean over the seats of one episode, so that an episode counts once."""
    return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}


def acceptance_curve(
    played: Iterable[tuple[PlayedEpisode, int]], *, seed: int, seats_a_round: int = 1
) -> dict[str, object]:
    """How often the seat accepts the offer before it, by the offer's worth as a share of its aim.

    Args:
        seats_a_round: how many act at the same time, on the table as it was before them.

    Returns:
        {"bins": lower edges, "accept": one STAT a bin}.
    """
    accepted: dict[int, list[float]] = defaultdict(list)
    for episode, seat in ((p.episode, seat) for p, seat in played):
        task = episode.scenario.task
        if task is None:
            continue
        for turn in episode.turns:
            if turn.seat != seat:
                continue
            round_start = turn.index - turn.index % seats_a_round
            deal = standing_offer(task, seat, episode.turns[:round_start])
            if deal is None:
                continue
            worth = task.utility(seat, deal) / task.aims[seat]
            place = sum(worth >= edge for edge in ACCEPTANCE_BINS[1:])
            accepts = turn.action.type is ActionType.ACT and turn.action.argument == "accept"
            accepted[place].append(float(accepts))
    stats: list[Stat] = [
        bootstrap(accepted[place], seed=seed, resamples=2000)
        for place in range(len(ACCEPTANCE_BINS))
    ]
    return {"bins": list(ACCEPTANCE_BINS), "accept": [stat.as_dict() for stat in stats]}
