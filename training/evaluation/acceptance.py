"""The acceptance curve: how often a policy accepts an offer, by what the offer is worth to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from agents.scripted import standing_offer
from envs.types import ActionType
from training.evaluation.statistics import bootstrap
from training.methods.records import PlayedEpisode

ACCEPTANCE_BINS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Lower edges of an offer's worth as a share of the aim; the first bin holds all below 0.2."""


def acceptance_curve(
    played: Iterable[tuple[PlayedEpisode, int]], *, seed: int, seats_a_round: int = 1
) -> dict[str, object]:
    """Count how often a seat accepts the standing offer, by the offer's worth.

    An offer's worth is its utility as a share of the seat's aim.

    Args:
        played: (episode, seat) pairs; episodes without a task are skipped.
        seed: of the bootstrap.
        seats_a_round: how many seats act at the same time; each sees the offer that stood before
            the round.

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
            bin_index = sum(worth >= edge for edge in ACCEPTANCE_BINS[1:])
            accepts = turn.action.type is ActionType.ACT and turn.action.argument == "accept"
            accepted[bin_index].append(float(accepts))
    stats = [
        bootstrap(accepted[index], seed=seed, resamples=2000)
        for index in range(len(ACCEPTANCE_BINS))
    ]
    return {"bins": list(ACCEPTANCE_BINS), "accept": [stat.as_dict() for stat in stats]}
