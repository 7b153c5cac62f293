"""Pairing: which branches of a group become a training example, and which tokens carry loss.

A pairing is a function from one group to one example or a reason for dropping it. Tokens are the
sampled ones; loss falls on the seat's own tokens inside the segment only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from judges.critic_base import LOCATING, own_turns, segment_length
from training.records import BranchGroup, BranchTokens, Example, PlayedEpisode
from training.values import Value


@dataclass(frozen=True, slots=True)
class PairingRule:
    """What counts as better, by how much, and how much of a branch is learned from.

    Attributes:
        margin: branches closer than this in value are a tie.
        max_segment_turns: the longest segment, in own turns; where a critic has chosen a shorter
            one, that is taken.
        contrasts: pairs that a group gives at most where no error was located.
    """

    value: Value
    margin: float
    max_segment_turns: int
    contrasts: int = 1


@dataclass(frozen=True, slots=True)
class Unpaired:
    """Why a group gave no example."""

    reason: str


Pairing = Callable[[BranchGroup, PairingRule], Example | Unpaired]


def segment(group: BranchGroup, rule: PairingRule) -> Example | Unpaired:
    """Better and worse branches, equally long in own turns (SDPO, arXiv 2501.01821).

    Where a critic located an error, the best branch against the original continuation, as
    published. Elsewhere branches from the middle of the better half against those of the worse:
    best against worst would compare luck with bad luck, in which a safe answer, to accept a fair
    offer say, is never seen, and gambling is learned.
    """
    values = [rule.value(played, group.seat) for played in group.branches]
    order = sorted(range(len(values)), key=lambda k: -values[k])
    if group.critic in LOCATING:
        contrasts = [(order[0], 0)]
    else:
        half = len(order) // 2
        halves = list(zip(order[:half], order[len(order) - half :], strict=True))
        first = max(0, (half - rule.contrasts + 1) // 2)
        contrasts = halves[first : first + rule.contrasts]
    far = [(a, b) for a, b in contrasts if 0 < values[a] - values[b] >= rule.margin]
    if not far:
        return Unpaired("no branch is better by the margin")
    clean = [(a, b) for a, b in far if not _has_invalid_act(group.branches[a], group, rule)]
    if not clean:
        return Unpaired("the better branch holds an invalid act")
    pairs = [_pair(group, group.branches[a], group.branches[b], rule) for a, b in clean]
    told_apart = [pair for pair in pairs if pair[0].token_ids != pair[1].token_ids]
    if not told_apart:
        return Unpaired("both segments are the same words")
    return Example(group.id, trunk_ids(group), tuple(side for pair in told_apart for side in pair))


def _pair(
    group: BranchGroup, chosen: PlayedEpisode, rejected: PlayedEpisode, rule: PairingRule
) -> tuple[BranchTokens, BranchTokens]:
    turns = segment_length(
        _own_turns_from(chosen, group), _own_turns_from(rejected, group), _longest(group, rule)
    )
    return branch_tokens(chosen, group, turns, 1.0), branch_tokens(rejected, group, turns, 0.0)


def turn(group: BranchGroup, rule: PairingRule) -> Example | Unpaired:
    """A better and a worse branch, the branch turn alone: DPO on one turn."""
    return segment(group, replace(rule, max_segment_turns=1))


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
    indices = own_turns(played.episode, group.seat, since=group.turn)[:turns]
    for index in indices:
        generation = played.generations[index]
        assert generation is not None
        if index != indices[0]:
            ids += generation.context_ids
            mask += [False] * len(generation.context_ids)
        ids += generation.token_ids
        mask += [True] * len(generation.token_ids)
    return BranchTokens(tuple(ids), tuple(mask), win_prob)


def _has_invalid_act(played: PlayedEpisode, group: BranchGroup, rule: PairingRule) -> bool:
    """Whether a turn to be learned from was no valid act: luck is no lesson in syntax."""
    own = [turn for turn in played.episode.turns[group.turn :] if turn.seat == group.seat]
    return any(turn.action.invalid for turn in own[: _longest(group, rule)])


def _longest(group: BranchGroup, rule: PairingRule) -> int:
    """The longest segment of a pair: the one that the critic chose, unless the rule is shorter."""
    return min(group.segment_turns or rule.max_segment_turns, rule.max_segment_turns)


def _own_turns_from(played: PlayedEpisode, group: BranchGroup) -> int:
    return len(own_turns(played.episode, group.seat, since=group.turn))
