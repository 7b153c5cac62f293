"""Pairings with a teacher: the continuations are an expert's, the original is the policy's own.

Who continues is `branch.source`. Nobody asks which one came to a better end: the expert's turn is
taken for the better one, as where there are demonstrations and no rewards.
"""

from __future__ import annotations

from training.methods.pairings.base import (
    PairingRule,
    Unpaired,
    branch_tokens,
    holds_invalid_act,
    trunk_ids,
)
from training.methods.pairings.pairs import INVALID, equally_long
from training.storage.records import BranchGroup, Example


def expert(group: BranchGroup, rule: PairingRule) -> Example | Unpaired:
    """The expert's turns against the policy's own (SPIN, arXiv 2401.01335, eq. 4.7).

    Up to `contrasts` continuations are each held against the original.
    """
    teachers = range(1, len(group.branches))[: rule.contrasts]
    return equally_long(group, [(k, 0) for k in teachers], rule)


def imitation(group: BranchGroup, rule: PairingRule) -> Example | Unpaired:
    """The expert's turns alone, to be cloned: up to `contrasts` continuations of a group."""
    teachers = group.branches[1 : 1 + rule.contrasts]
    turns = rule.max_segment_turns
    clean = [played for played in teachers if not holds_invalid_act(played, group, turns)]
    if not clean:
        return INVALID
    branches = tuple(branch_tokens(played, group, turns, 1.0) for played in clean)
    return Example(group.id, trunk_ids(group), branches)
