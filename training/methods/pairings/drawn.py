"""Pairs of branches that were drawn anew: rejection sampling under a reward (RSO)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from envs.options import Count, NonNegative, Positive
from training.methods.pairings.base import Unpaired, pairing
from training.methods.pairings.pairs import Contrast, equally_long
from training.methods.records import BranchGroup, Example


@pairing("rejection", gives="pairs")
def rejection(
    group: BranchGroup,
    values: Sequence[float],
    *,
    margin: NonNegative,
    max_segment_turns: Count,
    reward_temperature: Positive,
) -> Example | Unpaired:
    """Statistical rejection sampling, then pairs in the order of acceptance (arXiv 2309.06657).

    The branches are candidates of the policy. Half of them are accepted, as if they were drawn
    from the policy tilted by exp(value / reward_temperature), the optimum of the regularised
    objective; the first accepted meets the second, the third the fourth, and near-ties are
    dropped. Chance is drawn from the group's name and its original's seed.

    Args:
        margin: branches closer than this in value are a tie.
        max_segment_turns: the longest segment that carries loss, in own turns.
        reward_temperature: of rejection sampling, in points of the value.
    """
    rng = Random(f"rejection/{group.branches[0].seed}/{group.id}")
    wanted = max(2, len(values) // 2)
    accepted = accept(values, wanted, reward_temperature, rng)
    contrasts: list[Contrast] = []
    for first, second in zip(accepted[0::2], accepted[1::2], strict=False):
        better, worse = sorted((first, second), key=lambda k: -values[k])
        if 0 < values[better] - values[worse] >= margin:
            contrasts.append((better, worse))
    return equally_long(group, contrasts, max_segment_turns)


def accept(values: Sequence[float], wanted: int, temperature: float, rng: Random) -> list[int]:
    """Accept `wanted` of the candidates without putting back (arXiv 2309.06657, algorithm 1).

    Candidates are looked at in random order, again and again; one is accepted with probability
    exp((value - largest value left) / temperature).

    Returns:
        Their places in the order of acceptance.
    """
    left = list(range(len(values)))
    accepted: list[int] = []
    while left and len(accepted) < wanted:
        largest = max(values[k] for k in left)
        k = rng.choice(left)
        if rng.random() < math.exp((values[k] - largest) / temperature):
            left.remove(k)
            accepted.append(k)
    return accepted
