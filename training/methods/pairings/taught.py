"""Pairings with a teacher: the continuations are an expert's, the original is the policy's own.

Who continues is `branch.source`. The expert's turn is taken for the better one without a look at
how either ended, as where there are demonstrations and no rewards.
"""

from __future__ import annotations

from collections.abc import Sequence

from envs.options import Count
from training.methods.pairings.base import (
    Unpaired,
    branch_tokens,
    holds_invalid_act,
    pairing,
    trunk_ids,
)
from training.methods.pairings.pairs import INVALID, equally_long
from training.methods.records import BranchGroup, Example


@pairing("expert", gives="pairs", from_teacher=True)
def expert(
    group: BranchGroup,
    values: Sequence[float],
    *,
    max_segment_turns: Count,
    contrasts: Count = 1,
) -> Example | Unpaired:
    """The expert's turns against the policy's own (SPIN, arXiv 2401.01335, eq. 4.7).

    Args:
        max_segment_turns: the longest segment that carries loss, in own turns.
        contrasts: continuations that are each held against the original, at most.
    """
    teachers = range(1, len(group.branches))[:contrasts]
    return equally_long(group, [(k, 0) for k in teachers], max_segment_turns)


@pairing("imitation", gives="branches", from_teacher=True)
def imitation(
    group: BranchGroup,
    values: Sequence[float],
    *,
    max_segment_turns: Count,
    contrasts: Count = 1,
) -> Example | Unpaired:
    """The expert's turns alone, to be cloned.

    Args:
        max_segment_turns: the longest segment that carries loss, in own turns.
        contrasts: continuations of a group that are learned from, at most.
    """
    teachers = group.branches[1 : 1 + contrasts]
    turns = max_segment_turns
    clean = [played for played in teachers if not holds_invalid_act(played, group, turns)]
    if not clean:
        return INVALID
    branches = tuple(branch_tokens(played, group, turns, 1.0) for played in clean)
    return Example(group.id, trunk_ids(group), branches)
