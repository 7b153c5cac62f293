"""Pairings by name: which branches of a group become an example, and which tokens carry loss.

A pairing is a pure function from one group to one example or a reason for dropping it. To add one,
write the function and name it here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from training.methods.pairings.base import Pairing, PairingRule, Unpaired
from training.methods.pairings.drawn import rejection
from training.methods.pairings.groups import binary, win_rate, win_rate_pair
from training.methods.pairings.pairs import preferred, segment, session, step, turn
from training.methods.pairings.taught import expert, imitation
from training.storage.records import BranchGroup, Example

PAIRINGS: dict[str, Pairing] = {
    "binary": binary,
    "expert": expert,
    "imitation": imitation,
    "preferred": preferred,
    "rejection": rejection,
    "segment": segment,
    "session": session,
    "step": step,
    "turn": turn,
    "win_rate": win_rate,
    "win_rate_pair": win_rate_pair,
}


def pair_up(
    groups: Sequence[BranchGroup], pairing: Pairing, rule: PairingRule
) -> tuple[list[Example], Counter[str]]:
    """The examples of all groups in order, and how many groups were dropped for which reason."""
    examples: list[Example] = []
    drops: Counter[str] = Counter()
    for group in groups:
        paired = pairing(group, rule)
        if isinstance(paired, Unpaired):
            drops[paired.reason] += 1
        else:
            examples.append(paired)
    return examples, drops
