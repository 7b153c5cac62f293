"""Prepares episodes and branch groups for display: names, words, private goals and scores."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from envs.types import Action, ActionType, Turn
from judges.base import DIMENSION_RANGES
from judges.critics.base import own_turns
from training.methods.pairings.base import branch_tokens
from training.methods.records import BranchGroup, BranchTokens, Example, PlayedEpisode

_VERBS = {
    ActionType.SPEAK: "",
    ActionType.NON_VERBAL: "gestures",
    ActionType.ACT: "does",
    ActionType.LEAVE: "leaves",
    ActionType.NONE: "does nothing",
}


@dataclass(frozen=True, slots=True)
class TurnView:
    """A turn for display.

    Attributes:
        verb: such as "offers"; empty for speech.
        invalid: why the action was invalid; None if it was valid.
        near_miss: what the words meant but did not do; None where there is nothing to say.
        has_loss: whether the turn's tokens carry loss.
    """

    index: int
    seat: int
    name: str
    verb: str
    words: str
    invalid: str | None
    near_miss: str | None = None
    has_loss: bool = False


@dataclass(frozen=True, slots=True)
class SeatView:
    """A seat for display: its private goal and its scores.

    Attributes:
        scores: (dimension, score) pairs; empty if the episode is unscored.
    """

    name: str
    player: str
    goal: str
    scores: tuple[tuple[str, str], ...]
    reason: str


@dataclass(frozen=True, slots=True)
class TranscriptView:
    """A whole episode for display; `unscored` is the reason if it has no scores."""

    id: str
    family: str
    context: str
    seats: tuple[SeatView, ...]
    turns: tuple[TurnView, ...]
    end: str
    unscored: str | None

    @property
    def goals(self) -> str:
        """The goal scores in seat order as text, or "unscored"."""
        if self.unscored is not None:
            return "unscored"
        return " and ".join(f"{seat.name} {dict(seat.scores)['goal']}" for seat in self.seats)


@dataclass(frozen=True, slots=True)
class BranchView:
    """A continuation for display; `turns` begin at the branch turn."""

    label: str
    win_prob: float
    transcript: TranscriptView
    turns: tuple[TurnView, ...]


@dataclass(frozen=True, slots=True)
class GroupView:
    """A branch group for display: the trunk and two of its continuations.

    Attributes:
        name: the agent whose turn was played again.
        turn: transcript index of that turn.
    """

    id: str
    family: str
    name: str
    turn: int
    critic: str
    reason: str
    n_branches: int
    trunk: tuple[TurnView, ...]
    sides: tuple[BranchView, BranchView]


def view_episode(played: PlayedEpisode) -> TranscriptView:
    """Prepare an episode for display."""
    scenario = played.episode.scenario
    judgement = played.judgement
    scored = judgement.is_scored
    seats = tuple(
        SeatView(
            name=profile.name,
            player=played.players[seat],
            goal=scenario.goals[seat],
            scores=_scores(played, seat),
            reason=judgement.reasons[seat] if scored and seat < len(judgement.reasons) else "",
        )
        for seat, profile in enumerate(scenario.profiles)
    )
    return TranscriptView(
        id=played.id,
        family=scenario.family,
        context=scenario.context,
        seats=seats,
        turns=tuple(_view_turn(played, turn) for turn in played.episode.turns),
        end=played.episode.end.value,
        unscored=None if scored else "; ".join(judgement.reasons) or "no reason given",
    )


def view_group(group: BranchGroup) -> GroupView:
    """Prepare a group with its best and its worst branch by win probability."""
    order = sorted(range(len(group.branches)), key=lambda k: -group.win_probs[k])
    best, worst = order[0], order[-1]
    return _group_view(
        group, (_view_branch(group, best, "best"), _view_branch(group, worst, "worst"))
    )


def view_pair(group: BranchGroup, example: Example) -> GroupView:
    """Prepare a group with the two branches that were trained on.

    If more than two were, the best and the worst are shown; if none was trained on as the worse
    one, the original is shown beside the chosen one.
    """
    ordered = sorted(example.branches, key=lambda side: -side.win_prob)
    labels = ("chosen", "rejected") if len(ordered) == 2 else ("best", "worst")
    (best, best_turns), (worst, worst_turns) = (
        _trained_branch(group, side) for side in (ordered[0], ordered[-1])
    )
    if ordered[-1].win_prob == 1:
        labels, worst, worst_turns = ("chosen", "beside it"), 0, ()
    sides = (
        _view_branch(group, best, labels[0], best_turns),
        _view_branch(group, worst, labels[1], worst_turns),
    )
    return _group_view(group, sides)


def _group_view(group: BranchGroup, sides: tuple[BranchView, BranchView]) -> GroupView:
    original = group.branches[0]
    names = _short_names(original)
    return GroupView(
        id=group.id,
        family=original.episode.scenario.family,
        name=names[group.seat],
        turn=group.turn,
        critic=group.critic,
        reason=re.sub(r"\bseat (\d)", lambda found: names[int(found[1])], group.reason),
        n_branches=len(group.branches),
        trunk=view_episode(original).turns[: group.turn],
        sides=sides,
    )


def _trained_branch(group: BranchGroup, side: BranchTokens) -> tuple[int, tuple[int, ...]]:
    """Find the branch that a side of an example was made from, and its turns that carry loss."""
    for k, played in enumerate(group.branches):
        own = [t for t in own_turns(played.episode, group.seat) if t >= group.turn]
        for turns in range(1, len(own) + 1):
            if branch_tokens(played, group, turns, side.win_prob) == side:
                return k, tuple(own[:turns])
    return 0, ()  # a pairing that cuts branches differently; no turn can be marked


def _view_branch(
    group: BranchGroup, k: int, label: str, has_loss: tuple[int, ...] = ()
) -> BranchView:
    transcript = view_episode(group.branches[k])
    origin = "the original" if k == 0 else f"continuation {k}"
    turns = transcript.turns[group.turn :]
    return BranchView(
        f"{label}: {origin}",
        group.win_probs[k],
        transcript,
        tuple(replace(turn, has_loss=turn.index in has_loss) for turn in turns),
    )


def _short_names(played: PlayedEpisode) -> tuple[str, ...]:
    """First names if they are distinct, else full names."""
    profiles = played.episode.scenario.profiles
    first = tuple(profile.first_name for profile in profiles)
    return first if len(set(first)) == len(first) else tuple(p.name for p in profiles)


def _view_turn(played: PlayedEpisode, turn: Turn) -> TurnView:
    verb, words = _verb_and_words(turn.action)
    if turn.action.words:
        verb, words = "", f"{turn.action.words} [{' '.join(filter(None, (verb, words)))}]"
    return TurnView(
        index=turn.index,
        seat=turn.seat,
        name=_short_names(played)[turn.seat],
        verb=verb,
        words=words,
        invalid=turn.action.invalid,
        near_miss=turn.action.near_miss,
    )


def _verb_and_words(action: Action) -> tuple[str, str]:
    """A verb and its words: `offer you book=1 hat=3` becomes "offers", "you book 1, hat 3"."""
    words = action.argument
    if action.type is not ActionType.ACT:
        return _VERBS[action.type], words
    act, _, terms = words.partition(" ")
    if act in ("accept", "reject") and not terms:
        return f"{act}s", ""
    if act == "offer" and terms:
        return "offers", re.sub(r"(\w+)=(\d+)(?= \w+=)", r"\1 \2,", terms).replace("=", " ")
    return _VERBS[action.type], words


def _scores(played: PlayedEpisode, seat: int) -> tuple[tuple[str, str], ...]:
    if not played.judgement.is_scored:
        return ()
    scores = played.judgement.scores[seat]
    return tuple((name, f"{getattr(scores, name):.1f}") for name in DIMENSION_RANGES)
