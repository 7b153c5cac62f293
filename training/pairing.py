"""Pairing: which branches of a group become a training example, and which tokens carry loss.

A pairing is a function from one group to one example or a reason for dropping it. Tokens are the
sampled ones; loss falls on the seat's own tokens inside the segment only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from judges.critics import own_turns, select_segment
from training.records import BranchGroup, BranchTokens, Example, PlayedEpisode
from training.values import Value


@dataclass(frozen=True, slots=True)
class PairingRule:
    """What counts as better, by how much, and how much of a branch is learned from.

    Attributes:
        margin: branches closer than this in value are a tie.
        max_segment_turns: the longest segment, in own turns.
    """

    value: Value
    margin: float
    max_segment_turns: int


@dataclass(frozen=True, slots=True)
class Unpaired:
    """Why a group gave no example."""

    reason: str


Pairing = Callable[[BranchGroup, PairingRule], Example | Unpaired]


def segment(group: BranchGroup, rule: PairingRule) -> Example | Unpaired:
    """A better and a worse branch, equally long in own turns (SDPO, arXiv 2501.01821).

    Where a critic located an error, the original continuation is the worse one, as published;
    elsewhere it is the worst of the group.
    """
    values = [rule.value(played, group.seat) for played in group.branches]
    best = max(range(len(values)), key=values.__getitem__)
    worst = 0 if group.critic == "value" else min(range(len(values)), key=values.__getitem__)
    if values[best] - values[worst] < rule.margin or best == worst:
        return Unpaired("no branch is better by the margin")
    chosen, rejected = group.branches[best], group.branches[worst]
    turns = select_segment(
        _own_turns_from(chosen, group), _own_turns_from(rejected, group), rule.max_segment_turns
    )
    pair = (branch_tokens(chosen, group, turns, 1.0), branch_tokens(rejected, group, turns, 0.0))
    if pair[0].token_ids == pair[1].token_ids:
        return Unpaired("both segments are the same words")
    return Example(group.id, trunk_ids(group), pair)


def turn(group: BranchGroup, rule: PairingRule) -> Example | Unpaired:
    """A better and a worse branch, the branch turn alone: DPO on one turn."""
    return segment(group, PairingRule(rule.value, rule.margin, max_segment_turns=1))


def win_rate(group: BranchGroup, rule: PairingRule) -> Example | Unpaired:
    """All branches with their win rates among themselves (SPPO, arXiv 2405.00675)."""
    if len(set(group.win_probs)) == 1:
        return Unpaired("all branches tie")
    branches = tuple(
        branch_tokens(
            played, group, min(rule.max_segment_turns, _own_turns_from(played, group)), win_prob
        )
        for played, win_prob in zip(group.branches, group.win_probs, strict=True)
    )
    return Example(group.id, trunk_ids(group), branches)


PAIRINGS: dict[str, Pairing] = {"segment": segment, "turn": turn, "win_rate": win_rate}


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


def trunk_ids(group: BranchGroup) -> tuple[int, ...]:
    """The seat's token stream up to the start of its reply at the branch turn."""
    ids: list[int] = []
    played = group.branches[0]
    for index in own_turns(played.episode, group.seat):
        generation = played.generations[index]
        assert generation is not None  # groups are made at the policy's own turns
        ids += generation.context_ids
        if index >= group.turn:
            break
        ids += generation.token_ids
    return tuple(ids)


def branch_tokens(
    played: PlayedEpisode, group: BranchGroup, turns: int, win_prob: float
) -> BranchTokens:
    """A branch's stream behind the trunk, up to the end of the segment of `turns` own turns."""
    ids: list[int] = []
    mask: list[bool] = []
    indices = [i for i in own_turns(played.episode, group.seat) if i >= group.turn][:turns]
    for index in indices:
        generation = played.generations[index]
        assert generation is not None
        if index != indices[0]:
            ids += generation.context_ids
            mask += [False] * len(generation.context_ids)
        ids += generation.token_ids
        mask += [True] * len(generation.token_ids)
    return BranchTokens(tuple(ids), tuple(mask), win_prob)


def _own_turns_from(played: PlayedEpisode, group: BranchGroup) -> int:
    return sum(index >= group.turn for index in own_turns(played.episode, group.seat))
